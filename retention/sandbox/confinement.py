"""Limits of the child on itself, before it sees a byte: no files, no network, no processes.

1. Resource limits hold on every Unix: no further open file of any kind (so no socket either), nothing written to a
   file, no core dump, bounded memory and CPU.
2. On Linux a seccomp filter leaves the system calls of reading, writing, memory and ending. Any other is refused, and
   so is memory that could be executed. It cannot be lifted: `no_new_privs` stands before it.
3. What is held is told to the parent, so that nobody believes in more.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from pathlib import Path

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 4, 22, 38, 2
_LOAD, _IF_EQUAL, _IF_BITS, _RETURN = (
    0x20,
    0x15,
    0x45,
    0x06,
)  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JSET|K, BPF_RET|K
_UNKNOWN = (
    0x0005_0000 | 38
)  # SECCOMP_RET_ERRNO with ENOSYS: the C library then uses `clone`, whose flags are seen here
_ALLOW, _REFUSE = 0x7FFF_0000, 0x0005_0000 | 1  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _THIRD_ARGUMENT = 0, 4, 16, 32  # offsets in struct seccomp_data
_PROT_EXEC, _CLONE_THREAD = 4, 0x1_0000
_MAPPING = ("mmap", "mprotect")
_CALLS: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000_003E,
        {
            **{
                "read": 0,
                "write": 1,
                "close": 3,
                "fstat": 5,
                "lseek": 8,
                "mmap": 9,
                "mprotect": 10,
                "munmap": 11,
            },
            **{"brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24},
            **{
                "mremap": 25,
                "madvise": 28,
                "exit": 60,
                "sigaltstack": 131,
                "futex": 202,
                "restart_syscall": 219,
            },
            **{"clock_gettime": 228, "exit_group": 231, "getrandom": 318},
        },
    ),
    "aarch64": (
        0xC000_00B7,
        {
            **{"close": 57, "lseek": 62, "read": 63, "write": 64, "fstat": 80, "exit": 93, "exit_group": 94},
            **{
                "futex": 98,
                "clock_gettime": 113,
                "sched_yield": 124,
                "restart_syscall": 128,
                "sigaltstack": 132,
            },
            **{"rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "brk": 214, "munmap": 215},
            **{"mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278},
        },
    ),
}
"""What stays allowed, by machine: its audit number, and the system calls' numbers."""
_THREADS = {
    "x86_64": {"clone": 56, "gettid": 186, "set_robust_list": 273, "rseq": 334, "clone3": 435},
    "aarch64": {"clone": 220, "gettid": 178, "set_robust_list": 99, "rseq": 293, "clone3": 435},
}
"""What beginning a thread needs beside those."""


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("then", ctypes.c_uint8),
        ("otherwise", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def confine(memory: int, cpu_s: int, *, threads: bool) -> list[str]:
    """Confine this process to `memory` bytes more than it has and `cpu_s` seconds of CPU. Return what is held.

    `threads`: it may begin threads. The limit on processes counts the user's threads too, so it is not set then; the
    filter tells a thread from a process.
    """
    limits = {
        resource.RLIMIT_AS: _address_space() + memory,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_NOFILE: 3,  # standard input, output and error, which are open
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    if not threads:
        limits[resource.RLIMIT_NPROC] = 0
    for limit, most in limits.items():
        resource.setrlimit(limit, (most, most))
    held = ["limits"]
    if platform.system() == "Linux" and _filter_calls(platform.machine(), threads=threads):
        held.append("seccomp")
    return held


def _address_space() -> int:
    """Return the address space that is in use, in bytes; what a Python takes at most where nothing tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except OSError:
        return 512 << 20
    return pages * os.sysconf("SC_PAGE_SIZE")


def _filter_calls(machine: str, *, threads: bool) -> bool:
    """Leave the system calls of `_CALLS`. False where the kernel or the machine knows no such filter."""
    if machine not in _CALLS:
        return False
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)
    architecture, calls = _CALLS[machine]
    program = _program(architecture, calls | _THREADS[machine] if threads else calls)
    filled = (_Instruction * len(program))(*(_Instruction(*one) for one in program))
    whole = _Program(len(program), filled)
    return bool(
        prctl(_PR_SET_DUMPABLE, 0, None, 0, 0) == 0
        and prctl(_PR_SET_NO_NEW_PRIVS, 1, None, 0, 0) == 0
        and prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(whole), 0, 0) == 0
    )


def _program(architecture: int, calls: dict[str, int]) -> list[tuple[int, int, int, int]]:
    """Write the filter. A jump skips so many instructions; calls of another architecture have other numbers."""
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for name, number in calls.items():
        if name in _MAPPING:
            program += [
                (_IF_EQUAL, 0, 4, number),
                (_LOAD, 0, 0, _THIRD_ARGUMENT),
                (_IF_BITS, 1, 0, _PROT_EXEC),
                (_RETURN, 0, 0, _ALLOW),
                (_RETURN, 0, 0, _REFUSE),
            ]
        elif name == "clone":
            program += [
                (_IF_EQUAL, 0, 4, number),
                (_LOAD, 0, 0, _FIRST_ARGUMENT),
                (_IF_BITS, 0, 1, _CLONE_THREAD),
                (_RETURN, 0, 0, _ALLOW),
                (_RETURN, 0, 0, _REFUSE),
            ]
        elif name == "clone3":
            program += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _UNKNOWN)]
        else:
            program += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    return [*program, (_RETURN, 0, 0, _REFUSE)]
