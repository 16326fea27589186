/* SPDX-License-Identifier: MIT */
/* The broker by itself: what $TENON_EXE names in tests. */
#include "broker/broker.h"

int main(int argc, char **argv)
{
    return tn_broker_main(argc, argv);
}
