package dev.baton.transfer.mooncake;

import dev.baton.wire.Fields;
import dev.baton.wire.Wire;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// The exchange of descriptors between two Transfer Engines in Mooncake's `P2PHANDSHAKE` mode, as its engine of
/// version 0.3.13 speaks it: `{u64 length of what follows, u8 type, JSON}` in each direction, little-endian, one
/// exchange a connection. Stateless.
final class TeHandshake {
    /// Longest frame that is read: a descriptor has some hundred bytes for each registered buffer.
    static final int MAX_FRAME_BYTES = 1 << 20;

    static final int METADATA = 1;
    static final int PROBE = 3;

    /// The framing in which every request is answered.
    static final int ACKNOWLEDGED_VERSION = 2;

    private static final String PROTOCOL = "tcp";

    /// How an engine is reached.
    ///
    /// @param name its `host:port` of the handshake
    /// @param dataHost where it takes data; empty for the host of the handshake
    /// @param version version of its framing
    record Descriptor(String name, String dataHost, int dataPort, int version, List<TeMemory.Range> ranges) {
        static Descriptor read(byte[] json) throws ProtocolException {
            Fields fields = SmallJson.map("a Transfer Engine's descriptor", json);
            String protocol = fields.text("protocol");
            if (!protocol.equals(PROTOCOL)) {
                throw new ProtocolException(
                        "the Transfer Engine speaks %s, needed is tcp: set mooncake_protocol".formatted(protocol));
            }
            return new Descriptor(
                    fields.textOr("name", ""),
                    fields.textOr("tcp_data_host", ""),
                    (int) fields.number("tcp_data_port", 1, 65_535),
                    (int) fields.numberOr("tcp_proto_version", 0, Integer.MAX_VALUE, 1),
                    List.of());
        }

        byte[] json() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("name", name);
            fields.put("protocol", PROTOCOL);
            fields.put("tcp_data_host", dataHost);
            fields.put("tcp_data_port", dataPort);
            fields.put("tcp_proto_version", version);
            fields.put(
                    "buffers",
                    ranges.stream()
                            .<Object>map(
                                    range -> Map.of("name", name, "addr", range.address(), "length", range.length()))
                            .toList());
            fields.put("rdma_server_name", "");
            fields.put("timestamp", "1970-01-01 00:00:00.000000");
            return SmallJson.bytes(fields);
        }
    }

    private TeHandshake() {}

    /// Asks an engine for its descriptor.
    ///
    /// @param connectTimeout bound on opening the connection
    /// @param timeout bound on each frame
    static Descriptor ask(String host, int port, Duration connectTimeout, Duration timeout) throws IOException {
        try (Wire wire = Wire.unconnected()) {
            wire.connect(host, port, connectTimeout);
            send(wire, METADATA, "{}".getBytes(StandardCharsets.UTF_8), timeout);
            ByteBuffer frame = receive(wire, timeout);
            if (frame.get() != METADATA) {
                throw new ProtocolException("a Transfer Engine that answers with no descriptor");
            }
            byte[] json = new byte[frame.remaining()];
            frame.get(json);
            return Descriptor.read(json);
        }
    }

    /// Answers one engine.
    static void answer(Wire wire, byte[] descriptor, Duration timeout) throws IOException {
        int type = receive(wire, timeout).get();
        switch (type) {
            case METADATA -> send(wire, type, descriptor, timeout);
            case PROBE -> send(wire, type, "{}".getBytes(StandardCharsets.UTF_8), timeout);
            default -> throw new ProtocolException("a handshake of type " + type + ", which tcp has no use for");
        }
    }

    private static void send(Wire wire, int type, byte[] json, Duration timeout) throws IOException {
        ByteBuffer frame = ByteBuffer.allocate(Long.BYTES + 1 + json.length).order(ByteOrder.LITTLE_ENDIAN);
        frame.putLong(1L + json.length).put((byte) type).put(json).flip();
        wire.writeSteadily(new ByteBuffer[] {frame}, timeout);
    }

    /// @return the type and the JSON
    private static ByteBuffer receive(Wire wire, Duration timeout) throws IOException {
        ByteBuffer length = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        wire.readFully(length, timeout);
        long bytes = length.getLong(0);
        if (bytes < 1 || bytes > MAX_FRAME_BYTES) {
            throw new ProtocolException("a handshake of %s bytes; from 1 to %d are allowed"
                    .formatted(Long.toUnsignedString(bytes), MAX_FRAME_BYTES));
        }
        ByteBuffer frame = ByteBuffer.allocate((int) bytes);
        wire.readFully(frame, timeout);
        return frame.flip();
    }
}
