/* SPDX-License-Identifier: MIT */
/*
 * A process that has a file's code in memory more than once, as dlmopen and V8 leave it. It obeys lines:
 *
 *   copies LIBRARY   the library twice: dlopen, and dlmopen into a namespace of its own; which of them lies lower, 1 or 2
 *   lib A B          A calls of `lib_hooked` in the first of them, B in the second
 *   far              a page of its own code, that of `copy_moved`, mapped once more, gigabytes away, above
 *   low              the same, below
 *   own N            N calls of `copy_moved`, `copy_stays` and `copy_tiny`, where they are linked
 *   moved N          N calls of the copy of `copy_moved`
 *   nameless         code in no file, which makes a system call that is not known
 *   trap             `copy_trap`, whose first instruction is a breakpoint of its own; how often it has been seen
 */
#include "crowd.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* A page by itself; three bytes where no jump fits; an int3. */
__asm__(".text\n.globl copy_moved, copy_stays, copy_tiny, copy_tiny_next, copy_trap\n.balign "
        "4096\n"
        ".type copy_moved, @function\ncopy_moved: lea 1(%rdi,%rdi,2), %rax\n nopl 8(%rax)\n ret\n.size "
        "copy_moved, .-copy_moved\n"
        ".balign 4096\n"
        ".type copy_stays, @function\ncopy_stays: lea 2(%rdi,%rdi,2), %rax\n nopl 8(%rax)\n ret\n.size "
        "copy_stays, .-copy_stays\n"
        ".type copy_tiny, @function\ncopy_tiny: xor %eax, %eax\n ret\n.size copy_tiny, .-copy_tiny\n"
        ".type copy_tiny_next, @function\ncopy_tiny_next: endbr64\n mov $1, %eax\n ret\n.size "
        "copy_tiny_next, .-copy_tiny_next\n"
        ".type copy_trap, @function\ncopy_trap: int3\n lea 3(%rdi,%rdi,2), %rax\n nopl 8(%rax)\n ret\n.size "
        "copy_trap, .-copy_trap\n");
typedef uint64_t (*function)(uint64_t);
uint64_t copy_moved(uint64_t a), copy_stays(uint64_t a), copy_trap(uint64_t a);
int copy_tiny(void);

static function lib[2], far_moved;
static volatile sig_atomic_t traps;

static void on_trap(int sig)
{
    (void)sig;
    traps = traps + 1;
}

static function load(void *library)
{
    if (!library) {
        printf("%s\n", dlerror());
        exit(3);
    }
    return (function)dlsym(library, "lib_hooked");
}

static void call(function f, long n, uint64_t times, uint64_t more)
{
    for (long i = 0; i < n; i++)
        if (f((uint64_t)i) != (uint64_t)i * times + more)
            abort();
}

/* Of the file, at the place of a page of it in the file. */
static function map_again(void *where)
{
    unsigned long start, end, offset;
    char line[512], mode[8], path[256];
    FILE *maps = fopen("/proc/self/maps", "re");
    FILE *self = fopen("/proc/self/exe", "re");
    uint8_t *at = MAP_FAILED;

    while (maps && self && fgets(line, sizeof(line), maps))
        if (sscanf(line, "%lx-%lx %7s %lx %*s %*s %255s", &start, &end, mode, &offset, path) == 5 &&
            (uintptr_t)copy_moved >= start && (uintptr_t)copy_moved < end)
            at = mmap(where, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fileno(self),
                      (off_t)(offset + ((uintptr_t)copy_moved - start)));
    if (maps)
        fclose(maps);
    if (self)
        fclose(self);
    if (at == MAP_FAILED)
        exit(4);
    return (function)(uintptr_t)at;
}

static void map_nameless(void)
{
    static const uint8_t code[] = {0x48, 0x89, 0xf8, 0x0f, 0x05, 0xc3}; /* mov %rdi,%rax; syscall; ret */
    uint8_t *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        exit(5);
    memcpy(at, code, sizeof(code));
    if (mprotect(at, 4096, PROT_READ | PROT_EXEC))
        exit(6);
}

int main(void)
{
    struct sigaction action = {.sa_handler = on_trap};
    char line[512], path[400];
    long a, b;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigaction(SIGTRAP, &action, NULL);
    crowd((const unsigned char *)(uintptr_t)copy_tiny, 3);
    while (fgets(line, sizeof(line), stdin)) {
        long answer = 0;

        if (sscanf(line, "copies %399s", path) == 1) {
            lib[0] = load(dlopen(path, RTLD_NOW));
            lib[1] = load(dlmopen(LM_ID_NEWLM, path, RTLD_NOW));
            answer = 1 + ((uintptr_t)lib[0] > (uintptr_t)lib[1]);
        } else if (sscanf(line, "lib %ld %ld", &a, &b) == 2) {
            call(lib[0], a, 5, 1);
            call(lib[1], b, 5, 1);
        } else if (!strncmp(line, "far", 3)) {
            far_moved = map_again(NULL);
        } else if (!strncmp(line, "low", 3)) {
            far_moved = map_again((void *)0x20000000);
        } else if (sscanf(line, "own %ld", &a) == 1) {
            call(copy_moved, a, 3, 1);
            call(copy_stays, a, 3, 2);
            for (long i = 0; i < a; i++)
                if (copy_tiny())
                    abort();
        } else if (sscanf(line, "moved %ld", &a) == 1) {
            call(far_moved, a, 3, 1);
        } else if (!strncmp(line, "nameless", 8)) {
            map_nameless();
        } else if (!strncmp(line, "trap", 4)) {
            call(copy_trap, 1, 3, 3);
            answer = traps;
        } else {
            return 2;
        }
        printf("%ld\n", answer);
    }
    return 0;
}
