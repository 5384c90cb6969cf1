# SPDX-License-Identifier: Apache-2.0
"""The verbs behind ./dev, one module each; standard library only."""
