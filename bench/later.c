/* SPDX-License-Identifier: MIT */
/*
 * What processes and libraries pay that come while somebody watches for them; bench/run attaches and detaches.
 * Obeys lines on standard input, and answers each with the median in microseconds:
 *
 *   start N PROGRAM     posix_spawn of it, until it has ended, N times
 *   load N LIBRARY      dlopen of it, N times, each closed again
 */
#include <dlfcn.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#define TIMES_MAX 1001

extern char **environ;

static double now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int start(const char *program)
{
    char *words[] = {(char *)program, NULL};
    int status;
    pid_t pid;

    return posix_spawn(&pid, program, NULL, NULL, words, environ) || waitpid(pid, &status, 0) != pid ||
           status;
}

int main(void)
{
    static double took[TIMES_MAX];
    char line[4200], word[16], path[4096];
    int n;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "%15s %d %4095s", word, &n, path) != 3 || n < 1 || n > TIMES_MAX)
            return 2;
        for (int i = 0; i < n; i++) {
            double before = now_us();
            void *library = NULL;

            if (word[0] == 's' ? start(path) : !(library = dlopen(path, RTLD_NOW))) {
                fprintf(stderr, "%s: %s\n", path, word[0] == 's' ? "does not end well" : dlerror());
                return 1;
            }
            took[i] = now_us() - before;
            if (library)
                dlclose(library);
        }
        qsort(took, (size_t)n, sizeof(*took), by_value);
        printf("%.3f\n", took[n / 2]);
    }
    return 0;
}
