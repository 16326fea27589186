/* SPDX-License-Identifier: MIT */
/* As little as a program can be, or a library: one function, called once by main. */
int bench_tiny(int a);

__attribute__((noinline)) int bench_tiny(int a)
{
    __asm__ volatile("" : "+r"(a));
    return a * 3;
}

int main(void)
{
    return bench_tiny(0);
}
