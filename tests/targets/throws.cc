/* SPDX-License-Identifier: MIT */
/*
 * Exceptions through hooked functions: thrown by one, through one that cleans up, into one that catches.
 * Obeys lines on standard input: `throw N` answers how many were caught and how many destructors ran.
 */
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <sys/prctl.h>

static std::uint64_t destroyed;

struct Guard {
    ~Guard() { destroyed++; }
};

extern "C" {
std::uint64_t throws(std::uint64_t a), passes(std::uint64_t a), catches(std::uint64_t a);

__attribute__((noinline)) std::uint64_t throws(std::uint64_t a)
{
    if (a % 2 == 0)
        throw std::runtime_error("even");
    return a;
}

__attribute__((noinline)) std::uint64_t passes(std::uint64_t a)
{
    Guard guard;
    std::uint64_t (*volatile function)(std::uint64_t) = throws;

    return function(a) + 1;
}

__attribute__((noinline)) std::uint64_t catches(std::uint64_t a)
{
    std::uint64_t (*volatile function)(std::uint64_t) = passes;

    try {
        function(a);
    } catch (const std::runtime_error &) {
        return 1;
    }
    return 0;
}
}

int main()
{
    std::uint64_t n;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    while (std::scanf(" throw %lu", &n) == 1) {
        std::uint64_t caught = 0;

        destroyed = 0;
        for (std::uint64_t i = 0; i < n; i++)
            caught += catches(i);
        std::printf("%lu %lu\n", caught, destroyed);
    }
    return 0;
}
