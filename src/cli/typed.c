/* SPDX-License-Identifier: MIT */
/*
 * See typed.h. libbpf looks for the function among the types that the broker shows it, and says of a missing
 * one that it is missing. The types know more: a function that was inlined has a name, and no address.
 */
#include "cli/typed.h"

#include <errno.h>

#include "cli/hosts.h"
#include "eim/text.h"

int tn_typed_why(const char *file, const char *section, struct tn_error *err)
{
    const struct tn_cli_host_opts opts = {.need_types = true};
    const char *slash = strchr(section, '/'), *name = slash ? slash + 1 : "";
    struct tn_nearest near = tn_nearest_to(name);
    const struct tn_host_func *found = NULL;
    char text[TN_NEAREST_TEXT];
    struct tn_cli_host host;
    int r = tn_cli_host_open(file, &opts, &host, err);

    if (r)
        return r;
    for (u32 k = 0; k < tn_host_types_nfuncs(host.types); k++) {
        const struct tn_host_func *f = tn_host_types_func(host.types, k);

        if (!strcmp(f->name, name) && (!found || found->reason != TN_HOST_NONE))
            found = f;
        else if (f->reason == TN_HOST_NONE)
            tn_nearest_offer(&near, f->name);
    }
    if (!found)
        r = tn_fail(err, -ENOENT, "no_host_function", "%s has no function '%s'%s", file, name,
                    tn_nearest_text(&near, text));
    else if (found->reason != TN_HOST_NONE)
        r = tn_fail(err, -EOPNOTSUPP, tn_host_reason_name(found->reason), "%s of %s: %s", name, file,
                    tn_host_reason_text(found->reason));
    tn_cli_host_close(&host);
    return r;
}
