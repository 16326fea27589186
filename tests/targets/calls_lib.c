/* SPDX-License-Identifier: MIT */
/* A library that makes system calls of its own: umask, once as it is loaded, and as often as it is told. */
int lib_calls(int n);

static long own_umask(void)
{
    long r = 95, mask = 022;

    __asm__ volatile("mov $95, %%eax\n\t"
                     "syscall\n\t"
                     "nopl 0x1000(%%rax)\n\t"
                     : "=&a"(r)
                     : "D"(mask)
                     : "rcx", "r11", "memory");
    return r;
}

__attribute__((constructor)) static void first(void)
{
    own_umask();
}

int lib_calls(int n)
{
    int good = 0;

    for (int i = 0; i < n; i++)
        good += own_umask() == 022;
    return good;
}
