package dev.baton.transfer.nixl;

import dev.baton.tensor.PagedKv;
import dev.baton.transfer.nixl.AgentMetadata.BatonPool;
import dev.baton.wire.Fields;
import dev.baton.wire.MsgPack;
import java.net.ProtocolException;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeSet;

/// What a prefiller's handshake has said about its memory, checked: everything that is needed to address it.
///
/// @param vllm how a block's part lies there; empty for a Baton, whose blocks are this pool's
record RemotePool(AgentMetadata metadata, Optional<VllmBlock> vllm, NixlAgent.Place place) {

    /// Reads and checks a handshake payload.
    ///
    /// @param fields what a Baton must share, by name
    /// @throws ProtocolException if blocks must not be read from there; says in one sentence what differs
    static RemotePool check(
            byte[] payload, PeerAddress peer, NixlOptions options, PagedKv pool, SortedMap<String, String> fields)
            throws ProtocolException {
        Fields outer = MsgPack.map("NixlHandshakePayload", payload);
        String theirHash = outer.text("compatibility_hash");
        byte[] inner = outer.bytes("agent_metadata_bytes");
        String ourHash = options.compatibility().hash();
        AgentMetadata metadata;
        try {
            metadata = AgentMetadata.decode(inner);
        } catch (ProtocolException e) {
            throw new ProtocolException("%s speaks another version of the NIXL connector (%s); its hash is %s, here %s"
                    .formatted(peer, e.getMessage(), theirHash, ourHash));
        }
        if (!metadata.engineId().equals(peer.engineId())) {
            throw new ProtocolException("engine %s was expected at %s:%d, but that is %s (restarted since?)"
                    .formatted(peer.engineId(), peer.host(), peer.port(), metadata.engineId()));
        }
        if (metadata.baton().isPresent()) {
            checkBaton(metadata.baton().get(), peer, pool, fields);
            return new RemotePool(metadata, Optional.empty(), place(metadata));
        }
        Optional<String> difference = difference(metadata, options, pool);
        if (options.enforceHandshake() && !theirHash.equals(ourHash)) {
            throw new ProtocolException(
                    "%s has compatibility hash %s, here it is %s: %s; factors here (vllm_... keys change them): %s"
                            .formatted(
                                    peer,
                                    theirHash,
                                    ourHash,
                                    difference.orElse("what its metadata say is the same, so its vLLM version, model"
                                            + " name, dtype or cache dtype differs"),
                                    options.compatibility().json()));
        }
        if (difference.isPresent()) {
            throw new ProtocolException("blocks of %s cannot be read: %s".formatted(peer, difference.get()));
        }
        VllmBlock part = VllmBlock.of(order(metadata), metadata.blockTokens(), pool);
        return new RemotePool(metadata, Optional.of(part), place(metadata));
    }

    private static NixlAgent.Place place(AgentMetadata metadata) {
        return metadata.memoryTypes().getFirst().equals(AgentMetadata.VRAM)
                ? new NixlAgent.Place(NixlAgent.VRAM, metadata.deviceId())
                : NixlAgent.Place.HOST;
    }

    private static void checkBaton(BatonPool theirs, PeerAddress peer, PagedKv pool, SortedMap<String, String> fields)
            throws ProtocolException {
        TreeSet<String> names = new TreeSet<>(fields.keySet());
        names.addAll(theirs.fields().keySet());
        for (String name : names) {
            String here = fields.getOrDefault(name, "(absent)");
            String there = theirs.fields().getOrDefault(name, "(absent)");
            if (!here.equals(there)) {
                throw new ProtocolException("%s differs: \"%s\" here, \"%s\" on %s".formatted(name, here, there, peer));
            }
        }
        if (theirs.blockBytes() != pool.blockBytes()) {
            throw new ProtocolException(
                    "block_bytes differs: %d here, %d on %s".formatted(pool.blockBytes(), theirs.blockBytes(), peer));
        }
    }

    /// The first thing in a vLLM engine's metadata that does not fit this pool.
    private static Optional<String> difference(AgentMetadata peer, NixlOptions options, PagedKv pool) {
        if (peer.bases().length != pool.layers()) {
            return Optional.of(
                    "it has %d regions, the model here %d layers".formatted(peer.bases().length, pool.layers()));
        }
        if (peer.shards() != 1) {
            return Optional.of("it shards tokens over %d ranks".formatted(peer.shards()));
        }
        String backend = options.compatibility().attentionBackend();
        if (!peer.attentionBackend().equals(backend)) {
            return Optional.of("its attn_backend_name is %s, vllm_attn_backend here %s"
                    .formatted(peer.attentionBackend(), backend));
        }
        if (peer.memoryTypes().stream().distinct().count() != 1
                || !(peer.memoryTypes().getFirst().equals(AgentMetadata.DRAM)
                        || peer.memoryTypes().getFirst().equals(AgentMetadata.VRAM))) {
            return Optional.of("its region_mem_types are %s".formatted(peer.memoryTypes()));
        }
        boolean headMajor = peer.layout().equals("LBHNC");
        if (!headMajor && !peer.layout().equals("LBNHC")) {
            return Optional.of("its kv_cache_layout is %s; LBHNC and LBNHC are read here".formatted(peer.layout()));
        }
        if (isCpu(peer) && (!headMajor || !options.cpuIsa().startsWith("vec"))) {
            return Optional.of(("its CPU attention packs %s for \"%s\", which is not read here; run it where the"
                            + " processor has no AMX, or with --dtype float32, and set %s to \"vec\"")
                    .formatted(peer.layout(), options.cpuIsa(), NixlOptions.CPU_ISA));
        }
        VllmBlock part = VllmBlock.of(order(peer), peer.blockTokens(), pool);
        for (int i = 0; i < peer.lengths().length; i++) {
            if (peer.lengths()[i] != part.bytes() || peer.strides()[i] < part.bytes()) {
                return Optional.of(
                        "its blocks have %d bytes a layer (stride %d), %d tokens of %d heads of %d %s have %d"
                                .formatted(
                                        peer.lengths()[i],
                                        peer.strides()[i],
                                        peer.blockTokens(),
                                        pool.kvHeads(),
                                        pool.headDim(),
                                        pool.dtype().torchName(),
                                        part.bytes()));
            }
        }
        return Optional.empty();
    }

    private static boolean isCpu(AgentMetadata peer) {
        return peer.attentionBackend().equals("CPU_ATTN");
    }

    private static VllmBlock.Order order(AgentMetadata peer) {
        if (isCpu(peer)) {
            return VllmBlock.Order.CPU_VECTOR;
        }
        return peer.layout().equals("LBHNC") ? VllmBlock.Order.HEAD_MAJOR : VllmBlock.Order.TOKEN_MAJOR;
    }
}
