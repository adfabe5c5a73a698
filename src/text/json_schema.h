/* json_schema.h - whether a value is a schema by JSON Schema draft 7: what is asked of a tool's parameters.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TEXT_JSON_SCHEMA_H
#define GAL_TEXT_JSON_SCHEMA_H

#include "text/json_tree.h"

/* false: why says what is wrong, and where. */
bool gal__schema_valid(const gal__value *v, gal_buf *why);

#endif
