/// vLLM's MooncakeStoreConnector: blocks in the memory of a Mooncake cluster, under the names that vLLM gives them.
///
/// Mooncake's client library speaks to the cluster: `libmooncake_store.so` in this process, or the Python
/// package in a helper process that shares memory with this one; where there is neither, blocks can be read,
/// not written, over the protocols that `transfer.mooncake` speaks in plain Java.
///
/// `MooncakeValues` is the same client for connectors that name values themselves.
///
/// May depend on: `transfer`, `kvcache`, `tensor`.
@NullMarked
package dev.baton.transfer.mooncakestore;

import org.jspecify.annotations.NullMarked;
