/* Preloaded into vmclaude: its clocks are those of a host that sleeps. While the first number of the file $ASLEEP is not 0,
 * whoever asks for the time waits; and of the clock that a sleep stops, the second number of seconds is taken off. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long *host;

__attribute__((constructor)) static void look(void) {
    const char *name = getenv("ASLEEP");
    int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 2 * sizeof *host, PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) host = map;
    if (fd >= 0) close(fd);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    const struct timespec pause = {0, 1000000};
    while (host && host[0]) syscall(SYS_nanosleep, &pause, NULL);
    int done = (int)syscall(SYS_clock_gettime, id, now);
    if (!done && host && id == CLOCK_MONOTONIC) now->tv_sec -= host[1];
    return done;
}
