package dev.baton.transfer.tcp;

import dev.baton.transfer.KvLease;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Arrays;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// Sends the blocks of one prompt after the other while they are computed, one layer of a chunk as soon as the
/// model has written it, or says that the decoder can copy some: the prefiller's part of a push. Owned by the thread
/// of its connection.
///
/// Bytes are copied out of the pool before they are sent, several slices to a write: a decoder that is slow
/// holds up nobody but itself.
final class PushSender {
    /// How often a decoder hears that its prompt is still to come: well below its patience.
    private static final Duration SIGN_OF_LIFE = Duration.ofMillis(200);

    private static final int BUFFER_BYTES = 256 << 10;
    private static final int MOST_SLICES = 64;

    private final Link link;
    private final FrameChannel frames;
    private final String engineId;
    private final LocalPool pool;
    private final LocalPool.Window window;
    private final PushedPrompts prompts;
    private final TcpOptions options;
    private final Counters counters;
    private final ByteBuffer word = PayloadFrames.header(FrameType.SLICE);
    private @Nullable ByteBuffer payloads; // only a connection that pushes needs it
    private @Nullable ByteBuffer headers;

    PushSender(
            Link link,
            FrameChannel frames,
            String engineId,
            LocalPool pool,
            LocalPool.Window window,
            PushedPrompts prompts,
            TcpOptions options,
            Counters counters) {
        this.link = link;
        this.frames = frames;
        this.engineId = engineId;
        this.pool = pool;
        this.window = window;
        this.prompts = prompts;
        this.options = options;
        this.counters = counters;
    }

    /// Sends what a decoder asks for; waits for it, and for the request itself if need be.
    ///
    /// @return the lease on the prompt, which is computed now
    /// @throws PeerRefusedException to be told to the decoder, which gets no more
    KvLease push(Push push) throws IOException {
        BlockChecksum sums = new BlockChecksum(engineId, push.transferId());
        try {
            Optional<PushedPrompt> prompt = meet(push, sums);
            if (prompt.isEmpty()) {
                throw new PeerRefusedException(
                        ErrorCode.UNKNOWN_REQUEST,
                        "no prefill of %s came within %.1f s"
                                .formatted(
                                        push.transferId(),
                                        options.pushArrivalTimeout().toNanos() / 1e9));
            }
            Optional<String> problem = prompt.get().problem(push);
            if (problem.isPresent()) {
                throw new PeerRefusedException(ErrorCode.BAD_REQUEST, problem.get());
            }
            switch (push.way()) {
                case SENT -> send(prompt.get(), push, sums);
                case COPIED ->
                    announce(prompt.get(), push, new Announced(prompts.spec(), push.end(), push.end()), sums);
                case COPIED_BY_LAYERS ->
                    announce(prompt.get(), push, new Announced(prompts.spec(), push.first(), push.end()), sums);
            }
            return prompt.get().lease().orElseThrow();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted", e);
        }
    }

    /// Waits for the prefill leg, if the decoder's came first.
    private Optional<PushedPrompt> meet(Push push, BlockChecksum sums) throws IOException, InterruptedException {
        long deadline = System.nanoTime() + options.pushArrivalTimeout().toNanos();
        while (true) {
            long left = deadline - System.nanoTime();
            Optional<PushedPrompt> prompt = prompts.await(push.transferId(), Math.min(left, SIGN_OF_LIFE.toNanos()));
            if (prompt.isPresent() || left <= 0) {
                return prompt;
            }
            say(Slice.word(push.epoch(), Slice.COMING, 0, sums));
        }
    }

    private void send(PushedPrompt prompt, Push push, BlockChecksum sums) throws IOException, InterruptedException {
        int[] sent = new int[pool.layers()];
        Arrays.fill(sent, push.first());
        boolean tokenSent = false;
        while (true) {
            PushedPrompt.Next next = prompt.await(sent, push.end(), tokenSent, SIGN_OF_LIFE.toNanos());
            switch (next) {
                case PART -> {
                    int layer = prompt.nextLayer(sent, push.end());
                    if (layer >= 0) { // or they were taken away meanwhile
                        sent[layer] = sendLayer(prompt, push, layer, sent[layer], sums);
                        boolean _ = prompts.renew(push.transferId());
                    }
                }
                case TOKEN -> tokenSent = true;
                case DONE, NOTHING, OVER -> {}
            }
            if (isLast(next, prompt, push, sums)) {
                return;
            }
        }
    }

    /// Says which layers are computed to a decoder that copies them itself, and when all of them are.
    private void announce(PushedPrompt prompt, Push push, Announced announced, BlockChecksum sums)
            throws IOException, InterruptedException {
        boolean tokenSent = false;
        while (true) {
            PushedPrompt.Next next = prompt.await(announced, tokenSent, SIGN_OF_LIFE.toNanos());
            if (announced.isVoid(prompt.timesTaken())) {
                say(Slice.word(push.epoch(), Slice.AGAIN, 0, sums));
            }
            switch (next) {
                case PART -> {
                    Optional<Announced.Piece> piece = prompt.nextPiece(announced);
                    Optional<int[]> blocks = piece.flatMap(prompt::blockIds);
                    if (blocks.isPresent()) { // or they were taken away meanwhile
                        announced.said(piece.get());
                        new Ready(push.epoch(), piece.get(), blocks.get()).send(frames, options.sendTimeout());
                        boolean _ = prompts.renew(push.transferId());
                    }
                }
                case TOKEN -> tokenSent = true;
                case DONE, NOTHING, OVER -> {}
            }
            if (isLast(next, prompt, push, sums)) {
                return;
            }
        }
    }

    /// Says what needs no blocks.
    ///
    /// @return whether nothing follows
    private boolean isLast(PushedPrompt.Next next, PushedPrompt prompt, Push push, BlockChecksum sums)
            throws IOException {
        switch (next) {
            case PART -> {}
            case TOKEN ->
                say(Slice.word(push.epoch(), Slice.TOKEN, prompt.firstToken().orElseThrow(), sums));
            case DONE -> say(Slice.word(push.epoch(), Slice.DONE, 0, sums));
            case NOTHING -> say(Slice.word(push.epoch(), Slice.COMING, 0, sums));
            case OVER -> throw new PeerRefusedException(ErrorCode.LEASE_ENDED, prompt.whyOver());
        }
        return next == PushedPrompt.Next.DONE;
    }

    private void say(Slice slice) throws IOException {
        slice.put(word.clear());
        link.writeSteadily(new ByteBuffer[] {word.flip()}, options.sendTimeout());
    }

    /// Sends a layer's part of the next blocks, as many as there are and fit into one write.
    ///
    /// @return the block behind the last one sent
    private int sendLayer(PushedPrompt prompt, Push push, int layer, int from, BlockChecksum sums) throws IOException {
        int sliceBytes = (int) pool.layerBytes();
        ByteBuffer bytes = payloads == null ? ByteBuffer.allocateDirect(Math.max(BUFFER_BYTES, sliceBytes)) : payloads;
        ByteBuffer heads = headers == null
                ? ByteBuffer.allocateDirect(MOST_SLICES * word.capacity()).order(ByteOrder.LITTLE_ENDIAN)
                : headers;
        payloads = bytes;
        headers = heads;
        bytes.clear();
        heads.clear();
        int most = Math.min(push.end() - from, Math.min(MOST_SLICES, bytes.capacity() / sliceBytes));
        int count = 0;
        while (count < most && prompt.copy(layer, from + count, pool, window, bytes)) {
            count++;
        }
        if (count == 0) {
            return from;
        }
        ByteBuffer[] frames = new ByteBuffer[2 * count];
        for (int i = 0; i < count; i++) {
            ByteBuffer payload = bytes.slice(i * sliceBytes, sliceBytes);
            int tokens = push.tokens(from + i, pool.blockTokens());
            int sum = sums.ofLayer(push.epoch(), layer, from + i, tokens, payload);
            int at = heads.position();
            new Slice(push.epoch(), layer, from + i, tokens, sliceBytes, sum).put(heads);
            frames[2 * i] = heads.slice(at, word.capacity());
            frames[2 * i + 1] = payload;
        }
        link.writeSteadily(frames, options.sendTimeout());
        counters.bytesSent.add((long) count * sliceBytes);
        return from + count;
    }
}
