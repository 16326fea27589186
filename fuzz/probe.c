/* SPDX-License-Identifier: MIT */
/* Does this compiler have libFuzzer and the sanitizers? Compiled at configure time, never run. */
int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size);

int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size)
{
    return 0;
}
