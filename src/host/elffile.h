/* SPDX-License-Identifier: MIT */
/*
 * What is asked of an ELF file before anybody parses it: its build-id, where its debug information may be,
 * how addresses become offsets. The file is hostile and may change under us: every table is fetched by pread
 * into memory of our own, bounded, and checked there. Nothing is mapped.
 */
#ifndef TN_HOST_ELFFILE_H
#define TN_HOST_ELFFILE_H

#include "host/types.h"

#define TN_HOST_SEGMENTS_MAX 64u
#define TN_HOST_FILE_MAX     (1ull << 30)

struct tn_host_segment {
    u64 addr, offset, filesz, memsz;
    bool exec;
};

struct tn_host_elf {
    u64 size; /* of the file */
    u8 build_id[TN_HOST_BUILD_ID_MAX];
    u32 build_id_len;
    bool has_dwarf, has_btf, has_symbols; /* .debug_info, .BTF, .symtab or .dynsym with bytes */
    bool relocatable;                     /* no program: an object file, or what dwz took out of programs */
    bool has_dwo;                         /* .debug_info.dwo: the file is one half of split DWARF */
    u64 btf_offset, btf_size;
    char debuglink[256]; /* a file's name, never a path; "" none */
    u32 debuglink_crc;
    char altlink[512]; /* as written there: absolute, or from the folder of the file; "" none */
    u8 alt_build_id[TN_HOST_BUILD_ID_MAX];
    u32 alt_build_id_len;
    struct tn_host_segment segment[TN_HOST_SEGMENTS_MAX];
    u32 nsegments;
};

/* `name` is for messages. −ENOEXEC "not_elf", "elf_class", "elf_machine", "elf_damaged"; −EFBIG. */
int tn_host_elf_read(int fd, const char *name, struct tn_host_elf *ret, struct tn_error *err);
/* UINT64_MAX: no byte of the file is loaded there. */
u64 tn_host_elf_offset(const struct tn_host_elf *elf, u64 addr);
/* The checksum of .gnu_debuglink, over a whole file (CRC-32, as in gzip). */
int tn_host_elf_crc(int fd, u64 size, u32 *ret);

#endif
