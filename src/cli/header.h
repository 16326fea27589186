/* SPDX-License-Identifier: MIT */
/*
 * A host as a C header, to compile an extension against: the types that its entries, functions and variables
 * speak of, so that one object fits several builds of the host (preserve_access_index), and declarations that
 * libbpf resolves (__ksym).
 */
#ifndef TN_CLI_HEADER_H
#define TN_CLI_HEADER_H

#include "cli/hosts.h"

int tn_cli_header(const struct tn_cli_host *host, const struct tn_cli_policy *policy, FILE *f,
                  struct tn_error *err);

#endif
