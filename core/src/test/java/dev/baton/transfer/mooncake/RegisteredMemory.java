package dev.baton.transfer.mooncake;

import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Optional;

/// Plain memory under its real addresses, all of it open for everybody: what another Transfer Engine registers.
record RegisteredMemory(MemorySegment segment) implements TeMemory {
    @Override
    public List<Range> ranges() {
        return List.of(new Range(segment.address(), segment.byteSize()));
    }

    @Override
    public Optional<Access> begin(Operation operation, long address, long length, Runnable fence) {
        long offset = address - segment.address();
        if (offset < 0 || length < 0 || offset > segment.byteSize() || length > segment.byteSize() - offset) {
            return Optional.empty();
        }
        ByteBuffer piece = segment.asSlice(offset, length).asByteBuffer();
        return Optional.of(new Access() {
            @Override
            public List<ByteBuffer> pieces() {
                return List.of(piece);
            }

            @Override
            public void end(boolean complete) {
                // open for ever
            }
        });
    }
}
