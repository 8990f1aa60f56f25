/// vLLM's MooncakeConnector: a prefiller pushes blocks into its decoder's memory over the TCP protocol of
/// Mooncake's Transfer Engine, spoken here in plain Java; a bootstrap server says where prefillers are, a ZeroMQ
/// channel says which blocks are wanted.
///
/// The bootstrap server's two HTTP exchanges are spoken here too, in [dev.baton.transfer.mooncake.HttpMessage]: a
/// connector is made from its configuration alone, so nothing could be handed in, and the JDK's server has no
/// deadline on a slow client short of settings for the whole process.
///
/// May depend on: `transfer`, `kvcache`, `tensor`, `wire`, `metrics`.
@NullMarked
package dev.baton.transfer.mooncake;

import org.jspecify.annotations.NullMarked;
