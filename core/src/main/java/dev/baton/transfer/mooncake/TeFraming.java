package dev.baton.transfer.mooncake;

import dev.baton.transfer.mooncake.TeMemory.Operation;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/// The data plane's frames: a header `{u64 size, u64 address, u8 opcode, 7 bytes of padding}` of the asking side
/// and a status `u64` of the answering side, little-endian. WRITE is header, payload, status; READ is header,
/// status, payload. Only the acknowledged framing (the opcode's highest bit) is spoken. Stateless.
final class TeFraming {
    static final int HEADER_BYTES = 24;
    static final int STATUS_BYTES = 8;
    static final long OK = 0x4D43_5456_0000_0000L;
    static final long REJECTED = OK | 1;

    private static final int READ = 0;
    private static final int WRITE = 1;
    private static final int ACKNOWLEDGED = 0x80;
    private static final int OPCODE_OFFSET = 16;

    /// A peer's request.
    record Request(Operation operation, long address, long length) {}

    private TeFraming() {}

    static ByteBuffer buffer(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    /// Fills a header, ready to be sent.
    static void putHeader(ByteBuffer header, Operation operation, long address, long length) {
        int opcode = operation == Operation.WRITE ? WRITE : READ;
        header.clear().putLong(length).putLong(address).putLong(opcode | ACKNOWLEDGED);
        header.flip();
    }

    /// Reads a header.
    ///
    /// @throws ProtocolException if it asks for something else, or without acknowledgement: who wrote without would
    ///     not know when the bytes are there
    static Request request(ByteBuffer header) throws ProtocolException {
        int opcode = header.get(OPCODE_OFFSET) & 0xff;
        long length = header.getLong(0);
        if ((opcode & ACKNOWLEDGED) == 0) {
            throw new ProtocolException(
                    "a Transfer Engine that does not wait for acknowledgements (opcode %d): needed".formatted(opcode)
                            + " is tcp_proto_version 2 or newer");
        }
        int code = opcode & ~ACKNOWLEDGED;
        if ((code != READ && code != WRITE) || length < 0) {
            throw new ProtocolException("opcode %d with %s bytes".formatted(opcode, Long.toUnsignedString(length)));
        }
        return new Request(code == WRITE ? Operation.WRITE : Operation.READ, header.getLong(8), length);
    }
}
