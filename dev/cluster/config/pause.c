/* Holds a pod's or a node's namespaces open: waits, buries orphans, leaves when told. Built static. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int sign) { _exit(sign == SIGTERM || sign == SIGINT ? 0 : 1); }

static void bury(int sign) {
  (void)sign;
  while (waitpid(-1, NULL, WNOHANG) > 0) {
  }
}

int main(void) {
  struct sigaction leaving = {.sa_handler = leave}, burying = {.sa_handler = bury, .sa_flags = SA_NOCLDSTOP};
  if (sigaction(SIGINT, &leaving, NULL) || sigaction(SIGTERM, &leaving, NULL) || sigaction(SIGCHLD, &burying, NULL))
    return EXIT_FAILURE;
  for (;;)
    pause();
}
