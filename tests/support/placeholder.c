/* Replaced by the first helper of the tests. SPDX-License-Identifier: Apache-2.0 */
typedef int gal_test_support_placeholder;
