/* metrics_db.h - the database behind gal_metrics, for those files of this room that ask it more than metrics.h does.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef GAL_TRAIN_METRICS_DB_H
#define GAL_TRAIN_METRICS_DB_H

#include "train/metrics.h"

#include <sqlite3.h>

sqlite3 *gal__metrics_db(gal_metrics *m);
/* What SQLite complains about last, as an error with a message that names the file; err where it says nothing better.
 */
gal_err gal__metrics_refuse(gal_metrics *m, gal_err err, gal_diag *diag);

#endif
