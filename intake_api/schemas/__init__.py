"""The shapes of requests and answers, one module a resource: marshmallow, which validates and documents in one."""
