"""`casevault demo`: the life of one real bundle against the real service, every step checked."""
