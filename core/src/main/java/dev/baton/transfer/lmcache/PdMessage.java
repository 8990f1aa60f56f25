package dev.baton.transfer.lmcache;

import dev.baton.wire.Fields;
import dev.baton.wire.MsgPack;
import java.net.ProtocolException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// The messages by which LMCache's prefillers and decoders find each other's memory (LMCache 0.5: `pd_backend.py`,
/// `nixl_channel.py`): MessagePack maps whose `type` is the name of the message. Immutable.
sealed interface PdMessage {
    /// A sender's agent.
    record NixlInitRequest(byte[] localMetadata) implements PdMessage {
        @Override
        public Map<String, Object> fields() {
            return Map.of("local_meta_bytes", localMetadata);
        }
    }

    /// The receiver's agent.
    ///
    /// @param remoteAgentName the sender's, as the receiver read it
    /// @param isBaton whether the receiver knows [CancelNotif], which ends LMCache's synchronous one; LMCache
    ///     passes the field over
    record NixlInitResponse(byte[] remoteAgentName, byte[] remoteMetadata, boolean isBaton) implements PdMessage {
        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("remote_agent_name", remoteAgentName);
            fields.put("remote_meta_bytes", remoteMetadata);
            if (isBaton) {
                fields.put("baton", true);
            }
            return fields;
        }
    }

    /// A sender's pages.
    record NixlMemRegRequest(byte[] remoteAgentName, String localId, byte[] localPages) implements PdMessage {
        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("remote_agent_name", remoteAgentName);
            fields.put("local_id", localId);
            fields.put("local_xfer_dlist_bytes", localPages);
            return fields;
        }
    }

    /// The receiver's pages.
    record NixlMemRegResponse(byte[] remotePages) implements PdMessage {
        @Override
        public Map<String, Object> fields() {
            return Map.of("remote_xfer_dlist_bytes", remotePages);
        }
    }

    /// Asks for pages for chunks.
    ///
    /// @param shape of all but the last one
    /// @param lastChunkTokens tokens of the last one
    /// @param checksums of the chunks, from a Baton, else empty: LMCache passes the field over
    record AllocRequest(
            List<String> keys, int format, long[] shape, String dtype, int lastChunkTokens, long[] checksums)
            implements PdMessage {
        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("keys", keys);
            fields.put("fmt", format);
            fields.put("shape", list(shape));
            fields.put("dtype", dtype);
            fields.put("last_chunk_toks", lastChunkTokens);
            if (checksums.length > 0) {
                fields.put("baton_checksums", list(checksums));
            }
            return fields;
        }
    }

    /// The pages.
    ///
    /// @param alreadySent places in the request of chunks that need not be sent, for they are there or of no use
    /// @param remotePages a page for each of the others; -1 for none
    record AllocResponse(List<Long> alreadySent, List<Long> remotePages) implements PdMessage {
        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("already_sent_indexes", alreadySent);
            fields.put("remote_indexes", remotePages);
            return fields;
        }
    }

    /// A sender gives up a request.
    record CancelNotif(String requestId, List<String> keys) implements PdMessage {
        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("req_id", requestId);
            fields.put("keys", keys);
            return fields;
        }
    }

    /// Tells the proxy that the decoder need not wait any more for chunks of a request.
    record ProxyNotif(String requestId) implements PdMessage {
        @Override
        public Map<String, Object> fields() {
            return Map.of("req_id", requestId);
        }
    }

    /// What it has besides its type, in LMCache's order.
    Map<String, Object> fields();

    private static List<Long> list(long[] numbers) {
        return java.util.Arrays.stream(numbers).boxed().toList();
    }

    /// As it travels.
    default byte[] bytes() {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("type", getClass().getSimpleName());
        all.putAll(fields());
        return MsgPack.write(all);
    }

    /// Reads one.
    ///
    /// @throws ProtocolException if it is none of these
    static PdMessage read(byte[] message) throws ProtocolException {
        Fields fields = MsgPack.map("a message of LMCache's", message);
        String type = fields.text("type");
        return switch (type) {
            case "NixlInitRequest" -> new NixlInitRequest(fields.bytes("local_meta_bytes"));
            case "NixlInitResponse" ->
                new NixlInitResponse(
                        fields.bytes("remote_agent_name"),
                        fields.bytes("remote_meta_bytes"),
                        fields.truthOr("baton", false));
            case "NixlMemRegRequest" ->
                new NixlMemRegRequest(
                        fields.bytes("remote_agent_name"),
                        fields.text("local_id"),
                        fields.bytes("local_xfer_dlist_bytes"));
            case "NixlMemRegResponse" -> new NixlMemRegResponse(fields.bytes("remote_xfer_dlist_bytes"));
            case "AllocRequest" ->
                new AllocRequest(
                        fields.texts("keys"),
                        (int) fields.number("fmt", 0, Integer.MAX_VALUE),
                        fields.numbers("shape"),
                        fields.text("dtype"),
                        (int) fields.number("last_chunk_toks", 1, Integer.MAX_VALUE),
                        fields.numbers("baton_checksums"));
            case "AllocResponse" ->
                new AllocResponse(indexes(fields, "already_sent_indexes"), indexes(fields, "remote_indexes"));
            case "CancelNotif" -> new CancelNotif(fields.text("req_id"), fields.texts("keys"));
            case "ProxyNotif" -> new ProxyNotif(fields.text("req_id"));
            default -> throw new ProtocolException("a message of LMCache's of another type");
        };
    }

    private static List<Long> indexes(Fields fields, String key) throws ProtocolException {
        for (Object index : fields.list(key)) {
            if (!(index instanceof Long)) {
                throw new ProtocolException(key + " is no list of whole numbers");
            }
        }
        return fields.list(key).stream().map(Long.class::cast).toList();
    }
}
