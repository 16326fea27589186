# SPDX-License-Identifier: MIT
# callnames.sh COMPILER: "C(name, number)" for each system call in <asm/unistd_64.h>, by number.
echo '#include <asm/unistd_64.h>' | "$@" -E -dM - |
	sed -n 's/^#define __NR_\([a-z0-9_]*\) \([0-9]*\)$/C(\1, \2)/p' | sort -t, -k2n
