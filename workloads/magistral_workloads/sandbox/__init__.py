"""The box that runs a candidate's program: one place that decides what hostile code can reach.

A candidate runs under Landlock, seccomp, rlimits and no_new_privs, without network, without a writable
place, and without the power to create processes. It never shares a process or a file with the expected
output.

Covered: files outside the language's own, the network, other processes (signals, ptrace, /proc),
privileges, memory, output, threads, time, and everything left running. Not covered by this level: faults of
the node's kernel, CPU caches as a side channel, and a summed memory limit over the processes of a compile
step. A gVisor or Kata `RuntimeClass` on the verifier's pods adds a kernel boundary; nothing here changes
for it.
"""
