/* SPDX-License-Identifier: Apache-2.0 */
/* libmerritt.so is made of the layers' static archives; a shared library wants one object of its own. */
typedef int merritt_translation_unit_is_not_empty;
