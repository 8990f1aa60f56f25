/// vLLM's P2pNcclConnector: the addresses of both instances stand in the request's id, and the prefiller pushes a
/// prompt's blocks to its decoder, or keeps them until the decoder asks. Control messages go over ZeroMQ as vLLM's;
/// the blocks follow on the same connection, over TCP.
///
/// May depend on: `transfer`, `transfer.tcp`, `wire`, `kvcache`, `tensor`, `metrics`.
@NullMarked
package dev.baton.transfer.p2p;

import org.jspecify.annotations.NullMarked;
