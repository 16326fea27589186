/* SPDX-License-Identifier: MIT */
/*
 * Functions that are left in every way there is, and code that cannot bear to lose a flag or a byte below the
 * stack pointer. Obeys lines on standard input: `NAME N` runs a scene N times and answers its checksum, which
 * is the same whether it is hooked or not.
 */
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

#define EXPORTED __attribute__((noinline, visibility("default")))

/* --------------------------------------------------------------------------------------- several ways out */

uint64_t many_rets(uint64_t a), bare_rets(uint64_t a), dense(uint64_t a), cold_part(uint64_t a),
    recursive(uint64_t a), thrown_over(uint64_t a);
uint64_t tail_called(uint64_t a), other(uint64_t a), with_flags(uint64_t a), in_red_zone(uint64_t a),
    naps_inside(uint64_t a);

/* As compilers write it: some of its rets are single bytes that others jump to. */
EXPORTED uint64_t bare_rets(uint64_t a)
{
    if (a % 7 == 0)
        return a + 1;
    if (a % 5 == 0)
        return a * 3;
    for (uint64_t i = 0; i < a % 11; i++)
        if ((a ^ i) % 13 == 0)
            return i;
    return a % 3 == 0 ? a / 3 : ~a;
}

__asm__(".text\n"
        ".globl many_rets\n"
        ".type many_rets, @function\n"
        "many_rets:\n"
        "       mov %rdi, %rax\n"
        "       test $1, %al\n"
        "       jne 1f\n"
        "       lea 1(%rax,%rax,2), %rax\n"
        "       ret\n"
        "1:     test $2, %al\n"
        "       jne 2f\n"
        "       lea 5(%rax), %rax\n"
        "       ret\n"
        "2:     imul $77, %rax, %rax\n"
        "       test $4, %al\n"
        "       je 3f\n"
        "       add $9, %rax\n"
        "       ret\n"
        "3:     xor $0x55, %rax\n"
        "       ret\n"
        ".size many_rets, .-many_rets\n");

static volatile uint64_t sink;

/* A jump table. */
EXPORTED uint64_t dense(uint64_t a)
{
    switch (a % 12) {
    case 0:
        sink = a;
        return 17 * a;
    case 1:
        sink = a + 1;
        return a ^ 0x1111;
    case 2:
        sink = a + 2;
        return a - 22;
    case 3:
        sink = a * 3;
        return a << 3;
    case 4:
        sink = a / 3;
        return a >> 2;
    case 5:
        sink = ~a;
        return a * a;
    case 6:
        sink = a | 5;
        return a & 0xff;
    case 7:
        sink = a & 5;
        return a + 0x777;
    default:
        sink = 0;
        return a % 12;
    }
}

__attribute__((noinline, cold)) static void report(uint64_t a)
{
    static volatile uint64_t seen;

    seen = seen + a;
}

/* gcc moves what follows `report` out of the way, into a part of its own. */
EXPORTED uint64_t cold_part(uint64_t a)
{
    if (__builtin_expect(a % 9 == 0, 0)) {
        report(a);
        report(a + 1);
        return a * 9;
    }
    return a + 9;
}

static uint64_t (*volatile again)(uint64_t) = recursive; /* or the compiler makes loops of it */

EXPORTED uint64_t recursive(uint64_t a)
{
    return a < 2 ? a : again(a - 1) + again(a - 2);
}

static jmp_buf out;

EXPORTED uint64_t thrown_over(uint64_t a)
{
    if (a % 3 == 0)
        longjmp(out, 1);
    __asm__ volatile("" : "+r"(a));
    return a + 1;
}

__asm__(".text\n"
        ".globl other, tail_called\n"
        ".type other, @function\n"
        ".type tail_called, @function\n"
        "other: .cfi_startproc\n"
        "       lea 5(%rdi,%rdi,2), %rax\n"
        "       ret\n"
        "       nopw 0(%rax,%rax,1)\n"
        ".cfi_endproc\n"
        ".size other, .-other\n"
        "tail_called: .cfi_startproc\n"
        "       mov %rdi, %rax\n"
        "       xchg %ax, %ax\n"
        "       test $1, %al\n"
        "       je 1f\n"
        "       ret\n"
        "1:     add $2, %rdi\n"
        "       jmp other\n"
        ".cfi_endproc\n"
        ".size tail_called, .-tail_called\n"
        /* Where it jumps to, only a run tells; and one without unwind rules, which nothing is known of. */
        ".globl tail_pointer, tail_bare\n"
        ".type tail_pointer, @function\n"
        ".type tail_bare, @function\n"
        "tail_pointer: .cfi_startproc\n"
        "       lea other(%rip), %rax\n"
        "       nop\n"
        "       mov %rax, %rdx\n"
        "       jmp *%rdx\n"
        ".cfi_endproc\n"
        ".size tail_pointer, .-tail_pointer\n"
        "tail_bare: add $2, %rdi\n"
        "       jmp other\n"
        ".size tail_bare, .-tail_bare\n");
uint64_t tail_pointer(uint64_t a), tail_bare(uint64_t a);

/* Out of this file; and through a word, which may come to lead elsewhere. */
__asm__(".text\n"
        ".globl tail_outside, tail_word\n"
        ".type tail_outside, @function\n"
        ".type tail_word, @function\n"
        "tail_outside: .cfi_startproc\n"
        "       lea seed(%rip), %rdi\n"
        "       jmp rand_r@plt\n"
        ".cfi_endproc\n"
        ".size tail_outside, .-tail_outside\n"
        "tail_word: .cfi_startproc\n"
        "       lea 1(%rdi), %rdi\n"
        "       nop\n"
        "       jmp *leads(%rip)\n"
        ".cfi_endproc\n"
        ".size tail_word, .-tail_word\n");
uint64_t tail_outside(uint64_t a), tail_word(uint64_t a), third(uint64_t a);
unsigned int seed;
uint64_t (*volatile leads)(uint64_t) = other;
EXPORTED uint64_t third(uint64_t a)
{
    __asm__ volatile("" : "+r"(a));
    return a * 3;
}

/* -------------------------------------------------------------------------------- offsets with live state */

/* At with_flags+10 (`mov $0,%edx`, five bytes): carry and zero are alive across it, as is everything but rdx.
   At in_red_zone+20: the 128 bytes below the stack pointer are, too. At naps_inside+0 is the call itself. */
__asm__(".text\n"
        ".globl with_flags, in_red_zone, naps_inside\n"
        ".type with_flags, @function\n"
        ".type in_red_zone, @function\n"
        ".type naps_inside, @function\n"
        "with_flags:\n"
        "       xor %eax, %eax\n"         /* 0 */
        "       mov $3, %ecx\n"           /* 2 */
        "       bt %eax, %edi\n"          /* 7: carry = bit 0 of the argument */
        "       .byte 0xba, 0, 0, 0, 0\n" /* 10: mov $0, %edx: leaves flags alone */
        "       adc %rcx, %rax\n"         /* 15 */
        "       adc %rdx, %rdx\n"
        "       lea (%rax,%rdi,4), %rax\n"
        "       ret\n"
        ".size with_flags, .-with_flags\n"
        "in_red_zone:\n"
        "       mov %rdi, -8(%rsp)\n"   /* 0 */
        "       mov %rdi, -128(%rsp)\n" /* 5 */
        "       mov $7, %eax\n"         /* 10 */
        "       mov %rax, -64(%rsp)\n"  /* 15 */
        "       mov $1, %ecx\n"         /* 20 */
        "       mov -8(%rsp), %rax\n"
        "       add -128(%rsp), %rax\n"
        "       add -64(%rsp), %rax\n"
        "       ret\n"
        ".size in_red_zone, .-in_red_zone\n"
        "naps_inside:\n"
        ".cfi_startproc\n"
        "       call nap\n"
        "       add $1, %rax\n"
        "       ret\n"
        ".cfi_endproc\n"
        ".size naps_inside, .-naps_inside\n");

/* ------------------------------------------------------------------------- asleep inside a displaced call */

static int gate[2];

__attribute__((used)) uint64_t nap(uint64_t a);
uint64_t nap(uint64_t a)
{
    char byte;

    return read(gate[0], &byte, 1) == 1 ? a : 0;
}

#define NNAPPERS 8
static pthread_t nappers[NNAPPERS];

static void *napper(void *arg)
{
    uintptr_t number = (uintptr_t)arg;
    uint64_t (*volatile function)(uint64_t) = naps_inside;

    /* The stack is not aligned for `nap`, which does not mind. */
    return (void *)(function(number) == number + 1 ? number : ~0ul);
}

static uint64_t nap_scene(const char *what)
{
    uint64_t sum = 0;

    for (uintptr_t i = 0; i < NNAPPERS; i++)
        if (strcmp(what, "doze") == 0) {
            pthread_create(&nappers[i], NULL, napper, (void *)(i + 1));
        } else if (write(gate[1], "x", 1) != 1) {
            abort();
        }
    for (uintptr_t i = 0; strcmp(what, "wake") == 0 && i < NNAPPERS; i++) {
        void *result;

        pthread_join(nappers[i], &result);
        sum += (uint64_t)(uintptr_t)result;
    }
    return sum;
}

/* --------------------------------------------------------------------- interrupted inside the first bytes */

/* The load is at +1: what a handler interrupts there, it returns to. */
uint64_t stumbles(const uint64_t *a);
__asm__(".text\n"
        ".globl stumbles\n"
        ".type stumbles, @function\n"
        "stumbles:\n"
        "       nop\n"
        "       mov (%rdi), %rax\n"
        "       add $1, %rax\n"
        "       ret\n"
        ".size stumbles, .-stumbles\n");

static const uint64_t firm = 41;
static pthread_t stumbler;

static void stand_up(int signal, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    char byte;

    if (read(gate[0], &byte, 1) == 1)
        uc->uc_mcontext.gregs[REG_RDI] = (greg_t)(uintptr_t)&firm;
}

static void *stumble(void *arg)
{
    uint64_t (*volatile function)(const uint64_t *) = stumbles;

    return (void *)(uintptr_t)function(arg);
}

static uint64_t stumble_scene(const char *what)
{
    struct sigaction action = {.sa_sigaction = stand_up, .sa_flags = SA_SIGINFO};
    void *result = NULL;

    if (strcmp(what, "fall") == 0) {
        sigaction(SIGSEGV, &action, NULL);
        pthread_create(&stumbler, NULL, stumble, (void *)8);
    } else {
        if (write(gate[1], "x", 1) != 1)
            abort();
        pthread_join(stumbler, &result);
    }
    return (uint64_t)(uintptr_t)result;
}

static uint64_t walk(uint64_t i)
{
    return stumbles(&i);
}

/* ------------------------------------------------------------------------------------------------- scenes */

static uint64_t over(uint64_t i)
{
    if (setjmp(out))
        return 3;
    return thrown_over(i);
}

static uint64_t plus_flags(uint64_t i)
{
    uint64_t sum = with_flags(i);

    if (sum != 3 + (i & 1) + 4 * i)
        abort();
    return sum;
}

static uint64_t red_zone(uint64_t i)
{
    uint64_t sum = in_red_zone(i);

    if (sum != 2 * i + 7)
        abort();
    return sum;
}

/* From its own start each time. */
static uint64_t outside(uint64_t i)
{
    seed = (unsigned int)i;
    return tail_outside(i);
}

static uint64_t swapped(uint64_t i)
{
    leads = i % 2 ? third : other;
    return tail_word(i);
}

static uint64_t word(uint64_t i)
{
    leads = other;
    return tail_word(i);
}

static uint64_t random_itself(uint64_t i)
{
    unsigned int own = (unsigned int)i;

    return (uint64_t)rand_r(&own);
}

static const struct {
    const char *name;
    uint64_t (*scene)(uint64_t);
} scenes[] = {
    {"rets", many_rets},       {"bare", bare_rets},  {"dense", dense},          {"cold", cold_part},
    {"recursive", recursive},  {"over", over},       {"tail", tail_called},     {"flags", plus_flags},
    {"red", red_zone},         {"walk", walk},       {"pointer", tail_pointer}, {"bare-tail", tail_bare},
    {"other", other},          {"outside", outside}, {"swapped", swapped},      {"word", word},
    {"random", random_itself},
};

int main(void)
{
    char line[64], name[16];
    uint64_t n;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (pipe(gate) < 0)
        return 2;
    while (fgets(line, sizeof(line), stdin)) {
        uint64_t sum = 0;

        if (sscanf(line, "%15s %" SCNu64, name, &n) != 2)
            return 2;
        if (strcmp(name, "doze") == 0 || strcmp(name, "wake") == 0)
            sum = nap_scene(name);
        if (strcmp(name, "fall") == 0 || strcmp(name, "rise") == 0)
            sum = stumble_scene(name);
        for (size_t s = 0; s < sizeof(scenes) / sizeof(scenes[0]); s++)
            for (uint64_t i = 0; strcmp(name, scenes[s].name) == 0 && i < n; i++) {
                uint64_t (*volatile function)(uint64_t) = scenes[s].scene;

                sum = sum * 31 + function(strcmp(name, "recursive") == 0 ? i % 15 : i);
            }
        printf("%" PRIu64 "\n", sum);
    }
    return 0;
}
