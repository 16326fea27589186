/* SPDX-License-Identifier: MIT */
/* A library that comes and goes: `lib_hooked` is called by its own constructor first. */
#include <stdint.h>

uint64_t lib_hooked(uint64_t a);

__attribute__((noinline)) uint64_t lib_hooked(uint64_t a)
{
    __asm__ volatile("" : "+r"(a));
    return a * 5 + 1;
}

static uint64_t (*volatile function)(uint64_t) = lib_hooked;

__attribute__((constructor)) static void first(void)
{
    function(0);
}
