// PostgreSQL's client library, libpq 14 or newer: the pipeline mode came with 14.

#ifndef OUTBOX_LIBPQ_SHIM_H
#define OUTBOX_LIBPQ_SHIM_H

#include <libpq-fe.h>

// Macros of character literals, which Swift does not import.
static const int outbox_diag_severity = PG_DIAG_SEVERITY_NONLOCALIZED;
static const int outbox_diag_sqlstate = PG_DIAG_SQLSTATE;
static const int outbox_diag_message = PG_DIAG_MESSAGE_PRIMARY;

#endif
