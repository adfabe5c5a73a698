/* faults.h - makes chosen allocations or chosen calls to the system fail, and counts what is held. Allocations are
 * ours (base/mem.h), jansson's and SQLite's, counted together; calls are the places of base/fault.h (in builds with
 * GAL_FAULTS) and those of SQLite's Unix layer. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TESTS_FAULTS_H
#define GAL_TESTS_FAULTS_H

#include <stdbool.h>
#include <stdio.h>

typedef enum fault_class { FAULT_ALLOCATION, FAULT_CALL } fault_class;

typedef struct fault_plan {
    fault_class what;
    long at;        /* this one fails, counted from 0; -1: none, only count */
    bool sticky;    /* and all later ones */
    int why;        /* calls: an errno, or GAL_FAULT_SHORT */
    unsigned kinds; /* calls: 1u << gal_fault_kind of those that can fail so */
} fault_plan;

typedef enum fault_owner { OWNER_GALERNE, OWNER_JANSSON, OWNER_SQLITE, OWNERS } fault_owner;

typedef struct fault_report {
    long counted;      /* allocations or calls */
    long hits;         /* of which failed */
    fault_owner owner; /* of the first that failed */
    int kind;          /* calls: gal_fault_kind */
} fault_report;

/* First thing in the program, before any library allocates. */
void faults_install(void);
void faults_arm(fault_plan plan);
fault_report faults_disarm(void);
/* Where the first failure happened: return addresses, for addr2line. */
void faults_print_place(FILE *to);

/* Blocks that were allocated and not freed. */
long faults_held(void);
int open_files(void);
int running_threads(void);

#endif
