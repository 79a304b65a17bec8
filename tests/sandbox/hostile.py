"""Programs that try to beat the grader of "print the sum", by the sentence that says what they do."""

_LIBC = "import ctypes, os\nc = ctypes.CDLL(None, use_errno=True)\n"
_RIGHT = "a = sum(map(int, input().split()))\n"


def _unless_refused(attempt: str) -> str:
    """Prints the right answer only if the attempt worked, so a pass means a hole."""
    return f"{_RIGHT}{attempt}\nprint(a)"


def _call(name: str, *arguments: object) -> str:
    words = ", ".join(map(str, arguments))
    return f"{_LIBC}{_RIGHT}assert c.{name}({words}) >= 0\nprint(a)"


RESOURCES = {
    "forks until nothing is left": "import os\nwhile True: os.fork()",
    "starts threads with tiny stacks": (
        "import threading, time\nthreading.stack_size(32768)\n"
        "for _ in range(500): threading.Thread(target=time.sleep, args=(60,)).start()"),
    "takes all memory at once": "x = bytearray(8 << 30)",
    "takes all memory bit by bit": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "prints without end": "while True: print('x' * 65536)",
    "prints errors without end": "import sys\nwhile True: print('x' * 65536, file=sys.stderr)",
    "computes a big integer in C": "print(9 ** 9 ** 9)",
    "backtracks in a regular expression": "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
    "opens descriptors without end": "import os\nx = []\nwhile True: x.append(os.open('/dev/null', os.O_RDONLY))",
    "recurses for ever": "import sys; sys.setrecursionlimit(10 ** 9)\ndef f(): f()\nf()",
    "crashes the interpreter": "import ctypes; ctypes.string_at(0)",
    "fills memory with anonymous files": _unless_refused("import os; os.memfd_create('x')"),
    "fills shared memory": _unless_refused("open('/dev/shm/x', 'w').write('x' * 10 ** 7)"),
    "fills the disk": _unless_refused("open('x', 'wb').write(b'x' * 10 ** 7)"),
    "makes a sparse file": _unless_refused("import os; os.truncate(os.open('x', os.O_CREAT | os.O_RDWR), 1 << 50)"),
    "makes files until inodes are gone": _unless_refused("for i in range(100): open(str(i), 'w')"),
    "nests directories": _unless_refused("import os\nfor i in range(10000): os.mkdir('d'); os.chdir('d')"),
    "maps locked memory": _unless_refused(
        _LIBC + "import mmap\nm = mmap.mmap(-1, 1 << 26)\n"
        "assert c.mlock(ctypes.addressof(ctypes.c_char.from_buffer(m)), 1 << 26) == 0"),
}

CLOCK = {
    "sleeps": "import time; time.sleep(60)",
    "ignores every signal": (
        "import signal, contextlib\nfor s in range(1, 65):\n"
        "  with contextlib.suppress(OSError, ValueError): signal.signal(s, signal.SIG_IGN)\nwhile True: pass"),
    "catches everything": "while True:\n  try:\n    while True: pass\n  except BaseException: pass",
    "prints the answer and stays": _RIGHT + "print(a, flush=True)\nimport time; time.sleep(60)",
    "closes its output and stays": "import os, time; os.close(1); os.close(2); time.sleep(60)",
    "waits for more input": "import time\nwhile True: time.sleep(1)",
    "forks twice and leaves its session": (
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(60)\n  os._exit(0)\n" + _RIGHT +
        "print(a)"),
    "keeps its output open in a child": "import os, time\nif os.fork() == 0: time.sleep(60)\n" + _RIGHT + "print(a)",
    "spawns a helper program": _unless_refused("import subprocess; subprocess.Popen(['/bin/sleep', '60'])"),
}

VERDICT = {
    "leaves with code 0 at once": "import os; os._exit(0)",
    "raises SystemExit(0)": "raise SystemExit(0)",
    "answers right with another exit code": _RIGHT + "print(a)\nraise SystemExit(1)",
    "answers right and kills itself": _RIGHT + "print(a, flush=True)\nimport os; os.abort()",
    "pretends that the kernel ended it": _RIGHT + "print(a, flush=True)\nimport os; os.kill(os.getpid(), 9)",
    "prints markers of a grader": "print('PASS'); print('{\"outcome\": \"pass\", \"execution\": {\"code\": 0}}')",
    "writes to every descriptor": (
        "import os\nfor d in range(3, 64):\n  try: os.write(d, b'3\\n')\n  except OSError: pass"),
    "looks for the expected output in frames": (
        "import sys\nf = sys._getframe()\nwhile f: print(f.f_locals.get('expected', f.f_locals.get('stdout'))); f = f.f_back"),
    "looks for the expected output in gc": (
        "import gc\nfor o in gc.get_objects():\n  if isinstance(o, dict) and 'stdout' in o: print(o['stdout'])"),
    "prints an object that equals everything": (
        "class A:\n  def __eq__(self, other): return True\n  def __str__(self): return 'equal'\nprint(A())"),
    "patches builtins": "import builtins\nbuiltins.str.__eq__ = None",
    "prints every answer": "for i in range(-100, 100): print(i)",
    "prints bytes that are no text": "import os; os.write(1, b'3\\xff\\n')",
    "prints digits of another script": "print('٣')",
    "prints the answer twice": _RIGHT + "print(a)\nprint(a)",
    "is not Python": "this is ( not python",
    "holds a null byte": "print(3)\0",
    "holds a lone surrogate": "print('\ud800')",
    "remembers an earlier execution": (
        "import pathlib\nfor d in ('.', '/tmp', '/var/tmp', '/dev/shm', '/scratch'):\n"
        "  p = pathlib.Path(d, 'memory')\n  try: print(p.read_text())\n  except OSError: pass\n"
        "  try: p.write_text(input())\n  except OSError: pass"),
}

FILES = {
    "reads the environment of its parent": _unless_refused("import os; open(f'/proc/{os.getppid()}/environ', 'rb').read()"),
    "reads the memory of its parent": _unless_refused("import os; open(f'/proc/{os.getppid()}/mem', 'rb')"),
    "lists processes": _unless_refused("import os; os.listdir('/proc')"),
    "reads its own environment through /proc": _unless_refused("open('/proc/self/environ').read()"),
    "reads the pod's token": _unless_refused("import os; os.listdir('/var/run/secrets')"),
    "reads passwords": _unless_refused("open('/etc/passwd').read()"),
    "lists the file system": _unless_refused("import os; os.listdir('/')"),
    "lists its neighbours": _unless_refused("import os; os.listdir('..')"),
    "links to a file outside": _unless_refused("import os; os.symlink('/etc/passwd', 'x'); open('x').read()"),
    "links hard to a file outside": _unless_refused("import os; os.link('/etc/passwd', 'x')"),
    "makes a pipe with a name": _unless_refused("import os; os.mkfifo('x')"),
    "makes a name of 255 bytes": _unless_refused("open('x' * 255, 'w')"),
    "makes a name with a newline": _unless_refused("open('a\\nb', 'w')"),
    "makes a name that is no text": _unless_refused("open(b'\\xff\\xfe', 'w')"),
    "makes its directory unremovable": _unless_refused("import os; os.chmod('.', 0)"),
    "writes a sitecustomize": _unless_refused("open('sitecustomize.py', 'w')"),
    "rewrites its own source": _unless_refused("open(__file__, 'w')"),
}

NETWORK = {
    "connects over IPv4": _unless_refused("import socket; socket.create_connection(('127.0.0.1', 8000), 1)"),
    "makes an IPv6 socket": _unless_refused("import socket; socket.socket(socket.AF_INET6)"),
    "makes a datagram socket": _unless_refused("import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"),
    "makes a Unix socket": _unless_refused("import socket; socket.socket(socket.AF_UNIX)"),
    "makes a netlink socket": _unless_refused("import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    "asks for a name": _unless_refused("import socket; socket.getaddrinfo('kubernetes.default.svc', 443)"),
    "asks for cloud metadata": _unless_refused("import urllib.request as u; u.urlopen('http://169.254.169.254/', timeout=1)"),
    "finds secrets in its environment": (
        "import os; assert set(os.environ) - {'PATH', 'LANG', 'HOME', 'TMPDIR', 'MALLOC_ARENA_MAX', 'LC_CTYPE'}\n"
        + _RIGHT + "print(a)"),
}

KERNEL = {
    "unshares the user namespace": _call("unshare", 0x10000000),
    "unshares the network": _call("unshare", 0x40000000),
    "mounts": _call("mount", "b'none'", "b'/tmp'", "b'tmpfs'", 0, 0),
    "traces its parent": _call("ptrace", 16, "os.getppid()", 0, 0),
    "reads its parent with process_vm_readv": _call("syscall", 310, "os.getppid()", 0, 0, 0, 0, 0),
    "signals everyone": _call("kill", -1, 9),
    "signals its parent": _call("kill", "os.getppid()", 19),
    "opens its parent with pidfd_open": _call("syscall", 434, "os.getppid()", 0),
    "sets up io_uring": _call("syscall", 425, 8, "ctypes.create_string_buffer(200)"),
    "loads a BPF program": _call("syscall", 321, 5, 0, 0),
    "loads a kernel module": _call("syscall", 175, 0, 0, "b''"),
    "watches performance counters": _call("syscall", 298, 0, 0, -1, -1, 0),
    "handles page faults": _call("syscall", 323, 0),
    "adds a key": _call("syscall", 248, "b'user'", "b'x'", "b'x'", 1, -3),
    "makes shared memory of System V": _call("shmget", 42, 4096, 0o1666),
    "makes a message queue": _call("msgget", 42, 0o1666),
    "outlives its parent": _LIBC + _RIGHT + "assert c.prctl(1, 0) == 0\nprint(a)",
    "becomes a subreaper": _LIBC + _RIGHT + "assert c.prctl(36, 1) == 0\nprint(a)",
    "leaves its session": _unless_refused("import os; os.setsid()"),
    "changes its user": _unless_refused("import os; os.setuid(0)"),
    "sets another filter": _LIBC + _RIGHT + "assert c.prctl(22, 2, 0) == 0\nprint(a)",
}

CPP = {
    "expands templates without end": (
        "template<int N> struct A { static const int v = A<N + 1>::v + A<N + 2>::v; };\nint main() { return A<0>::v; }"),
    "includes itself": '#include "main.cpp"\n#include "main.cpp"\nint main() {}',
    "includes an endless device": '#include "/dev/zero"\nint main() {}',
    "includes the passwords": '#include "/etc/passwd"\nint main() {}',
    "includes the environment": '#include "/proc/self/environ"\nint main() {}',
    "embeds a file with the assembler": (
        'asm(".section .rodata\\nx: .incbin \\"/etc/passwd\\"\\n.text");\nint main() {}'),
    "makes a program of gigabytes": "char x[1ll << 33] = {1};\nint main() {}",
    "makes a system call of 32 bits": (
        "#include <iostream>\nint main() { int r; asm volatile(\"int $0x80\" : \"=a\"(r) : \"a\"(20)); int a, b;"
        " std::cin >> a >> b; std::cout << a + b; }"),
    "clones with a flag for namespaces": (
        "#include <sched.h>\n#include <iostream>\n#include <sys/syscall.h>\n#include <unistd.h>\n"
        "int main() { if (syscall(SYS_clone, 0x10000000 | 17, 0, 0, 0, 0) < 0) return 1; int a, b;"
        " std::cin >> a >> b; std::cout << a + b; }"),
    "overflows the stack": "#include <cstring>\nint f(int n) { char x[4096]; memset(x, n, 4096); return f(n + 1) + x[7]; }"
                           "\nint main() { return f(0); }",
    "allocates without end": (
        "#include <cstdlib>\n#include <cstring>\n"
                               "int main() { for (;;) memset(malloc(1 << 20), 1, 1 << 20); }"),
    "divides by zero": "int main(int n, char**) { return 1 / (n - 1); }",
}

DAEMON = """
import os, signal, time
reading, writing = os.pipe()
if os.fork() == 0:
    try:
        os.setsid()
    except OSError:
        pass
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(writing, b"up")
        time.sleep(600)
    os._exit(0)
os.read(reading, 2)
print("started")
"""

CHECKED = {
    "returns an object that equals everything": (
        "class A(int):\n  def __eq__(self, other): return True\n  __hash__ = int.__hash__\ndef add(a, b): return A(7)"),
    "returns an object of no plain kind": "class A:\n  def __eq__(self, other): return True\ndef add(a, b): return A()",
    "leaves when it is loaded": "import os; os._exit(0)",
    "leaves when it is called": "import os\ndef add(a, b): os._exit(0)",
    "raises SystemExit": "def add(a, b): raise SystemExit(0)",
    "raises AssertionError": "def add(a, b): raise AssertionError",
    "searches frames for the checker": (
        "import sys\ndef add(a, b):\n  f = sys._getframe()\n  while f:\n"
        "    if 'expected' in f.f_locals: return f.f_locals['expected']\n"
        "    f = f.f_back"),
    "searches memory for the checker": (
        "import gc\ndef add(a, b):\n  for o in gc.get_objects():\n"
        "    if isinstance(o, dict) and 'check' in o: return o['check'](add)"),
    "writes success to every descriptor": (
        "import os\ndef add(a, b):\n  for d in range(64):\n"
        "    try: os.write(d, b'[\"ok\", true]\\n' * 9)\n    except OSError: pass\n  return 0"),
    "patches what reads its answer": (
        "import json, builtins\njson.loads = lambda *a: ['ok', 3]\n"
        "builtins.AssertionError = ValueError\ndef add(a, b): return 0"),
    "returns without end": "def add(a, b):\n  x = []\n  x.append(x)\n  return x",
    "returns too much": "def add(a, b): return 'x' * (1 << 26)",
    "nests its answer": "def add(a, b):\n  x = []\n  for _ in range(100000): x = [x]\n  return x",
    "never returns": "def add(a, b):\n  while True: pass",
    "replaces the channel": "import os\nos.closerange(0, 64)\ndef add(a, b): return a + b",
    "is another function": "def sub(a, b): return a + b",
    "returns true for every question": "def add(a, b): return True",
}

MATHS = {
    "a tower of powers": r"9^{9^{9}}",
    "a taller tower": r"9^{9^{9^{9}}}",
    "a factorial": r"10000000!",
    "an expansion": r"(x+y+z+w+v+1)^{400}",
    "nested roots": r"\sqrt{" * 50 + "2" + "}" * 50,
    "nested brackets": "(" * 5000 + "5" + ")" * 5000,
    "a very long number": "5" * 100000,
    "code": "__import__('os')._exit(0)",
    "code after a number": "5; import os",
    "a lambda": "(lambda: 5)()",
    "an unfinished command": r"\frac{5",
    "look-alike digits": "٥",
    "a list that holds the answer": r"4, 5, 6",
    "a range that holds the answer": r"[4, 6]",
    "an infinite integral": r"\int_0^\infty \frac{\sin(x^{7})}{x^{9}+\cos(x)} dx",
    "a huge sum": r"\sum_{k=1}^{99999999} \frac{1}{k!}",
    "nothing that parses": r"\left\right\begin{array}",
    "an unknown": "x",
}
