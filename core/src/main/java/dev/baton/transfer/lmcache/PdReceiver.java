package dev.baton.transfer.lmcache;

import dev.baton.transfer.TransferException;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpServer;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.ProtocolException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.LongStream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A decoder's side of LMCache's prefill and decode: memory in pages of one chunk that prefillers write to over
/// NIXL, and the two ports where they ask for it. For loads it is a tier, from which a chunk is taken once for
/// each prefill that announced it.
///
/// A chunk that nobody takes is dropped after [#KEPT]. LMCache's messages do not tell when a chunk has been
/// written, so it is believed as soon as its key is there, as by LMCache; a Baton's chunk has a checksum, and
/// one that does not fit (yet) is a miss. Thread-safe.
final class PdReceiver implements Tier {
    private static final Logger LOG = LoggerFactory.getLogger(PdReceiver.class);

    /// How long a chunk waits for its request.
    static final Duration KEPT = Duration.ofMinutes(2);

    private static final int MAX_SENDERS = 1_024;
    private static final int MAX_MESSAGE_BYTES = 64 << 20; // a list of a million pages
    private static final Duration SILENCE = Duration.ofHours(1); // LMCache's connections stay open
    private static final String MODULE = "nixl._bindings";
    private static final int MAX_CHUNKS = 1 << 16; // of one request for pages

    private final Arena arena = Arena.ofShared();
    private final MemorySegment memory; // (pages, chunk)
    private final long pageBytes;
    private final ChunkHead fullChunk;
    private final String dtype;
    private final Duration timeout;
    private final PdAgent agent;
    private final ZmtpServer initServer;
    private final ZmtpServer allocServer;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition freed = lock.newCondition();
    private final ArrayDeque<Integer> freePages = new ArrayDeque<>(); // guarded by lock, as all below
    private final Map<String, Held> chunks = new HashMap<>(); // by key
    private String misfit = ""; // what was said last of chunks that do not fit
    private boolean closed;

    /// A chunk that was announced.
    private static final class Held {
        private final int page;
        private final int format;
        private final long[] shape;
        private final Optional<Integer> checksum;
        private final long sinceNanos = System.nanoTime();
        private int uses = 1;

        Held(int page, int format, long[] shape, Optional<Integer> checksum) {
            this.page = page;
            this.format = format;
            this.shape = shape;
            this.checksum = checksum;
        }
    }

    /// @param fullChunk what a chunk is here that is full
    /// @param dtype LMCache's name of the element type
    /// @param timeout how long a prefiller waits for pages
    /// @throws TransferException if there is no NIXL, the memory is too small or a port cannot be bound
    PdReceiver(
            PdOptions options, Map<String, String> environment, ChunkHead fullChunk, String dtype, Duration timeout) {
        long pageBytes = fullChunk.lengthBytes();
        int pages = (int) Math.min(options.bufferBytes() / pageBytes, Integer.MAX_VALUE);
        if (pages == 0) {
            arena.close();
            throw new TransferException(
                    "pd_buffer_size is %d, less than a chunk of %d bytes".formatted(options.bufferBytes(), pageBytes));
        }
        this.pageBytes = pageBytes;
        this.fullChunk = fullChunk;
        this.dtype = dtype;
        this.timeout = timeout;
        this.memory = arena.allocate(pages * pageBytes, 4096);
        for (int page = 0; page < pages; page++) {
            freePages.add(page);
        }
        PdAgent started = startAgent(options, environment);
        try {
            this.initServer = serve("init", options.host(), options.initPort(), this::introduce);
            try {
                this.allocServer = serve("alloc", options.host(), options.allocPort(), this::allocate);
            } catch (RuntimeException e) {
                initServer.close();
                throw e;
            }
        } catch (RuntimeException e) {
            started.close();
            arena.close();
            throw e;
        }
        this.agent = started;
    }

    private PdAgent startAgent(PdOptions options, Map<String, String> environment) {
        try {
            return new PdAgent(
                    options.nixlHome(), environment, UUID.randomUUID().toString(), memory);
        } catch (RuntimeException e) {
            arena.close();
            throw e;
        }
    }

    /// Answers one kind of questions.
    @FunctionalInterface
    private interface Answerer {
        PdMessage answer(PdMessage question) throws IOException;
    }

    private static ZmtpServer serve(String what, String host, int port, Answerer answerer) {
        try {
            return ZmtpServer.start(
                    "baton-kv-pd-" + what,
                    Zmtp.SocketType.ROUTER,
                    host,
                    port,
                    new ZmtpServer.Limits(MAX_SENDERS, MAX_MESSAGE_BYTES, SILENCE),
                    (from, message) -> {
                        // A REQ's or DEALER's empty frame, if it has one, goes back with the answer.
                        List<byte[]> answer = new ArrayList<>(message.subList(0, message.size() - 1));
                        answer.add(answerer.answer(PdMessage.read(message.getLast()))
                                .bytes());
                        from.send(answer);
                    });
        } catch (IOException e) {
            throw new TransferException(
                    "pd_peer_%s_port: %s:%d cannot be bound: %s".formatted(what, host, port, e.getMessage()), e);
        }
    }

    int initPort() {
        return initServer.port();
    }

    int allocPort() {
        return allocServer.port();
    }

    private PdMessage introduce(PdMessage question) throws IOException {
        return switch (question) {
            case PdMessage.NixlInitRequest init -> {
                String name = agent.call(it -> it.load(init.localMetadata()), timeout);
                byte[] metadata = agent.call(it -> it.metadata(), timeout);
                yield new PdMessage.NixlInitResponse(name.getBytes(StandardCharsets.UTF_8), metadata, true);
            }
            case PdMessage.NixlMemRegRequest register -> {
                // Python must find the class of the answer, and knows the one of its question.
                String module = register.localPages().length == 0
                        ? MODULE
                        : PageList.read(register.localPages()).module();
                PageList pages =
                        PageList.of(module, dev.baton.transfer.nixl.NixlAgent.DRAM, memory.address(), pageBytes, (int)
                                (memory.byteSize() / pageBytes));
                yield new PdMessage.NixlMemRegResponse(pages.bytes());
            }
            default -> throw new ProtocolException("a question for another port");
        };
    }

    private PdMessage allocate(PdMessage question) throws IOException {
        return switch (question) {
            case PdMessage.AllocRequest request -> allocate(request);
            case PdMessage.CancelNotif cancel -> {
                cancel.keys().forEach(this::release);
                yield new PdMessage.AllocResponse(List.of(), List.of());
            }
            default -> throw new ProtocolException("a question for another port");
        };
    }

    private PdMessage.AllocResponse allocate(PdMessage.AllocRequest request) throws IOException {
        int count = request.keys().size();
        boolean hasSums = request.checksums().length == count;
        if (request.shape().length != 4 || count > MAX_CHUNKS || request.format() != ChunkHead.KV_2LTD) {
            throw new ProtocolException("chunks of format %d, or too many".formatted(request.format()));
        }
        if (!fits(request)) {
            return declined(count, hasSums);
        }
        List<Long> known = new ArrayList<>();
        List<Long> pages = new ArrayList<>();
        List<String> taken = new ArrayList<>();
        long deadline = System.nanoTime() + timeout.toNanos();
        lock.lock();
        try {
            for (int i = 0; i < count; i++) {
                String key = request.keys().get(i);
                Held held = chunks.get(key);
                if (held != null) {
                    held.uses++;
                    known.add((long) i);
                    continue;
                }
                Optional<Integer> page = freePage(deadline);
                if (page.isEmpty()) {
                    LOG.warn("pd_buffer_size: no page is free for {} chunks of a prefiller", count);
                    taken.forEach(this::drop);
                    known.forEach(index -> release(request.keys().get(index.intValue())));
                    return declined(count, hasSums);
                }
                long[] shape = request.shape().clone();
                if (i == count - 1) {
                    shape[2] = request.lastChunkTokens();
                }
                chunks.put(
                        key,
                        new Held(
                                page.get(),
                                request.format(),
                                shape,
                                hasSums ? Optional.of((int) request.checksums()[i]) : Optional.empty()));
                taken.add(key);
                pages.add((long) page.get());
            }
        } finally {
            lock.unlock();
        }
        return new PdMessage.AllocResponse(known, pages);
    }

    /// The answer to chunks that get no page. A Baton hears it, and has the proxy go on. LMCache's senders know
    /// no refusal: one that gets no pages leaves its proxy waiting. So they are told that nothing need be sent,
    /// tell the proxy that they are through, and the prompt is computed here, as no chunk is found.
    private static PdMessage.AllocResponse declined(int count, boolean isBaton) {
        return isBaton
                ? new PdMessage.AllocResponse(List.of(), Collections.nCopies(count, -1L))
                : new PdMessage.AllocResponse(LongStream.range(0, count).boxed().toList(), List.of());
    }

    /// Whether chunks that a prefiller announces can be used here; says why not, once in a row.
    private boolean fits(PdMessage.AllocRequest request) {
        long[] shape = request.shape();
        if (request.dtype().equals(dtype)
                && shape[0] == fullChunk.shape0()
                && shape[1] == fullChunk.shape1()
                && shape[2] <= fullChunk.shape2()
                && shape[3] == fullChunk.shape3()) {
            return true;
        }
        String sentence = "a prefiller's chunks are %s, shape %s; needed: %s, shape [%d, %d, up to %d, %d]"
                .formatted(
                        request.dtype(),
                        Arrays.toString(shape),
                        dtype,
                        fullChunk.shape0(),
                        fullChunk.shape1(),
                        fullChunk.shape2(),
                        fullChunk.shape3());
        lock.lock();
        try {
            if (!misfit.equals(sentence)) {
                misfit = sentence;
                LOG.warn("{}; start both with the same model, element type and chunk_size", sentence);
            }
        } finally {
            lock.unlock();
        }
        return false;
    }

    /// Under the lock; waits.
    private Optional<Integer> freePage(long deadlineNanos) throws IOException {
        dropStale();
        while (freePages.isEmpty() && !closed) {
            long left = deadlineNanos - System.nanoTime();
            if (left <= 0) {
                return Optional.empty();
            }
            try {
                long _ = freed.awaitNanos(Math.min(left, TimeUnit.SECONDS.toNanos(1)));
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new IOException("interrupted", e);
            }
            dropStale();
        }
        if (closed) {
            throw new IOException("the connector was closed");
        }
        return Optional.of(freePages.remove());
    }

    private void dropStale() {
        long now = System.nanoTime();
        for (Iterator<Held> all = chunks.values().iterator(); all.hasNext(); ) {
            Held held = all.next();
            if (now - held.sinceNanos > KEPT.toNanos()) {
                all.remove();
                freePages.add(held.page);
            }
        }
    }

    /// Under the lock.
    private void drop(String key) {
        Held held = chunks.remove(key);
        if (held != null) {
            freePages.add(held.page);
            freed.signal();
        }
    }

    /// One use less.
    private void release(String key) {
        lock.lock();
        try {
            Held held = chunks.get(key);
            if (held != null && --held.uses == 0) {
                drop(key);
            }
        } finally {
            lock.unlock();
        }
    }

    /// Flips a bit of every page, for tests.
    void damage() {
        for (long page = 0; page < memory.byteSize(); page += pageBytes) {
            memory.set(ValueLayout.JAVA_BYTE, page, (byte) ~memory.get(ValueLayout.JAVA_BYTE, page));
        }
    }

    /// Pages that no chunk has.
    int numFree() {
        lock.lock();
        try {
            return freePages.size();
        } finally {
            lock.unlock();
        }
    }

    @Override
    public String name() {
        return "pages that prefillers write to (ports %d and %d)".formatted(initPort(), allocPort());
    }

    @Override
    public boolean contains(String key) {
        lock.lock();
        try {
            return chunks.containsKey(key);
        } finally {
            lock.unlock();
        }
    }

    @Override
    public boolean get(String key, ChunkHead expected, MemorySegment target) throws IOException {
        lock.lock();
        try {
            Held held = chunks.get(key);
            if (held == null) {
                return false;
            }
            long[] shape = {expected.shape0(), expected.shape1(), expected.shape2(), expected.shape3()};
            try {
                if (held.format != expected.format()
                        || !Arrays.equals(held.shape, shape)
                        || expected.lengthBytes() > pageBytes) {
                    throw new BadChunkException("its shape is %s; needed: %s"
                            .formatted(Arrays.toString(held.shape), Arrays.toString(shape)));
                }
                MemorySegment.copy(memory, held.page * pageBytes, target, 0, expected.lengthBytes());
                if (held.checksum.isPresent()) {
                    ChunkChecksum.require(held.checksum.get(), key, expected, target);
                }
                return true;
            } finally {
                release(key);
            }
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void put(String key, ChunkHead head, MemorySegment chunk) {
        // only prefillers put chunks here
    }

    @Override
    public void close() {
        lock.lock();
        try {
            closed = true;
            freed.signalAll();
        } finally {
            lock.unlock();
        }
        allocServer.close();
        initServer.close();
        agent.close();
        arena.close();
    }
}
