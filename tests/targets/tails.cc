/* SPDX-License-Identifier: MIT */
/*
 * Functions that leave by tail jumps, as a compiler makes them, called from many threads, which throw through them, jump
 * out of them and call them from within themselves. Obeys lines on standard input: `go THREADS ROUNDS` answers how often
 * `door` has returned, `hall` too, whoever called it, and how many exceptions were caught.
 *
 *     door ── tail ──▶ hall ── tail ──▶ room ── calls ──▶ door, one smaller
 *       └───── tail ──────────────────▶ room            throws or jumps out, now and then
 */
#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <sys/prctl.h>
#include <thread>
#include <vector>

typedef std::uint64_t u64;
#define PART __attribute__((noinline, noclone, visibility("default")))

struct Tally {
    u64 door, hall, caught;
    std::jmp_buf out;
};

extern "C" {
PART u64 door(Tally *t, u64 a), hall(Tally *t, u64 a), room(Tally *t, u64 a);
}
/* A call that the compiler sees neither the target nor the result of. */
static u64 (*volatile to_door)(Tally *, u64) = door;
static u64 (*volatile to_hall)(Tally *, u64) = hall;
static u64 (*volatile to_room)(Tally *, u64) = room;

extern "C" {
PART u64 room(Tally *t, u64 a)
{
    if (a % 61 == 60)
        throw std::runtime_error("60");
    if (a % 67 == 66)
        std::longjmp(t->out, 1);
    if (a % 5 == 4) {
        u64 inner = to_door(t, a / 3);

        t->door++;
        t->hall += a / 3 % 3 == 1;
        return inner + 1;
    }
    return a * 3;
}

PART u64 hall(Tally *t, u64 a)
{
    __asm__ volatile("" : "+r"(a));
    return a % 2 ? room(t, a + 2) : a + 7;
}

PART u64 door(Tally *t, u64 a)
{
    __asm__ volatile("" : "+r"(a));
    if (a % 3 == 1)
        return hall(t, a);
    if (a % 3 == 2)
        return room(t, a ^ 1);
    return a ^ 0x55;
}
}

/* One call instruction for all of them, so that their return slots are the same. */
PART void call(Tally *t, u64 (*function)(Tally *, u64), u64 a)
{
    try {
        if (setjmp(t->out) == 0) {
            function(t, a);
            if (function == door)
                t->door++;
            /* A door that goes by the hall is the hall's return as well. */
            t->hall += function == hall || (function == door && a % 3 == 1);
        }
    } catch (const std::runtime_error &) {
        t->caught++;
    }
}

static void work(Tally *t, u64 seed, u64 rounds)
{
    for (u64 i = seed; i < seed + rounds; i++) {
        call(t, to_door, i);
        call(t, to_room, i * 7);
        call(t, to_hall, i * 3);
    }
}

int main()
{
    unsigned n;
    u64 rounds;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    while (std::scanf(" go %u %lu", &n, &rounds) == 2) {
        std::vector<Tally> tally(n);
        std::vector<std::thread> thread;
        u64 doors = 0, halls = 0, caught = 0;

        for (unsigned i = 0; i < n; i++)
            thread.emplace_back(work, &tally[i], i * 1000, rounds);
        for (auto &each : thread)
            each.join();
        for (auto &each : tally) {
            doors += each.door;
            halls += each.hall;
            caught += each.caught;
        }
        std::printf("%lu %lu %lu\n", doors, halls, caught);
    }
    return 0;
}
