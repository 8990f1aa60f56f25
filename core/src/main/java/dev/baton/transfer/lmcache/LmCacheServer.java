package dev.baton.transfer.lmcache;

import dev.baton.transfer.TransferException;
import dev.baton.wire.Threads;
import dev.baton.wire.Wire;
import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ProtocolException;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.LongAdder;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A server of LMCache's `lm://` protocol, for engines of Baton's and for vLLM with LMCache: keeps chunks in
/// memory, up to a bound; the one that was not used for longest goes first.
///
/// The protocol has no authentication: whoever reaches the port can read and replace chunks.
///
/// Thread-safe. One platform thread per connection, up to a bound.
public final class LmCacheServer implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(LmCacheServer.class);

    private static final long ACCEPT_PAUSE_MILLIS = 100;
    /// An engine may ask nothing for as long as it likes: LMCache's client cannot connect a second time.
    private static final Duration PATIENCE = Duration.ofDays(3650);
    /// How long a client may take no bytes, or send none of those it promised.
    private static final Duration STALL = Duration.ofSeconds(30);

    private static final int BUFFERS_AT_A_TIME = 64;

    private final ServerSocketChannel listener;
    private final int maxConnections;
    private final long maxChunkBytes;
    private final ChunkMemory memory;
    private final Map<Thread, Wire> connections = new ConcurrentHashMap<>();
    private final LongAdder puts = new LongAdder();
    private final LongAdder gets = new LongAdder();
    private final LongAdder hits = new LongAdder();
    private final Thread acceptor =
            Thread.ofPlatform().daemon().name("baton-lm-server").unstarted(this::acceptAll);
    private volatile boolean closed;

    private LmCacheServer(ServerSocketChannel listener, long maxBytes, int maxConnections) {
        this.listener = listener;
        this.maxConnections = maxConnections;
        this.memory = new ChunkMemory(maxBytes);
        this.maxChunkBytes = Math.min(maxBytes, Limits.MAX_CHUNK_BYTES);
    }

    /// Binds and begins to serve.
    ///
    /// @param port 0 for any free one
    /// @param maxBytes memory for chunks; address space is taken at once, memory as it is needed
    /// @param maxConnections further clients are turned away
    /// @throws TransferException if the address cannot be bound, or a bound makes no sense
    public static LmCacheServer start(String host, int port, long maxBytes, int maxConnections) {
        if (maxBytes < ChunkMemory.PAGE_BYTES || maxBytes / ChunkMemory.PAGE_BYTES > Integer.MAX_VALUE) {
            throw new TransferException("--max-bytes is %d; needed: at least %d, at most 128 TiB"
                    .formatted(maxBytes, ChunkMemory.PAGE_BYTES));
        }
        if (maxConnections < 1) {
            throw new TransferException("--max-connections is %d; needed: at least 1".formatted(maxConnections));
        }
        try {
            ServerSocketChannel listener = ServerSocketChannel.open();
            try {
                listener.setOption(StandardSocketOptions.SO_REUSEADDR, true);
                listener.bind(new InetSocketAddress(InetAddress.getByName(host), port));
                LmCacheServer server = new LmCacheServer(listener, maxBytes, maxConnections);
                server.acceptor.start();
                return server;
            } catch (IOException | OutOfMemoryError e) {
                listener.close();
                throw e;
            }
        } catch (IOException e) {
            throw new TransferException(
                    "cannot listen on %s:%d (%s); change --host or --port".formatted(host, port, e), e);
        } catch (OutOfMemoryError e) {
            throw new TransferException("there is no memory of %d bytes; lower --max-bytes".formatted(maxBytes), e);
        }
    }

    /// The port bound.
    public int port() {
        return listener.socket().getLocalPort();
    }

    /// Clients connected now.
    public int numConnections() {
        return connections.size();
    }

    /// Chunks kept now.
    public int numChunks() {
        return memory.numChunks();
    }

    /// Memory that chunks take now, in whole pages.
    public long usedBytes() {
        return memory.usedBytes();
    }

    /// One sentence about what was done so far.
    public String summary() {
        return "%d chunks in %d MiB, %d clients; so far %d stored, %d of %d asked for were there, %d evicted"
                .formatted(
                        numChunks(),
                        usedBytes() >> 20,
                        numConnections(),
                        puts.sum(),
                        hits.sum(),
                        gets.sum(),
                        memory.numEvicted());
    }

    private void acceptAll() {
        while (!closed) {
            try {
                serve(listener.accept());
            } catch (ClosedChannelException e) {
                return;
            } catch (IOException | RuntimeException | OutOfMemoryError e) {
                LOG.warn("accepting a client failed: {}", e.toString()); // out of descriptors or threads, most likely
                pause();
            }
        }
    }

    private static void pause() {
        try {
            Thread.sleep(ACCEPT_PAUSE_MILLIS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void serve(SocketChannel channel) throws IOException {
        if (connections.size() >= maxConnections) {
            LOG.warn("a client is turned away: {} are connected already (--max-connections)", maxConnections);
            channel.close();
            return;
        }
        channel.setOption(StandardSocketOptions.SO_KEEPALIVE, true); // finds clients whose machine is gone
        Wire wire = Wire.over(channel);
        Thread thread = Thread.ofPlatform().daemon().name("baton-lm-client").unstarted(() -> serve(wire));
        connections.put(thread, wire);
        try {
            thread.start();
        } catch (OutOfMemoryError e) {
            connections.remove(thread);
            wire.close();
            throw e;
        }
        if (closed) {
            wire.abort();
        }
    }

    private void serve(Wire wire) {
        ByteBuffer header = ByteBuffer.allocateDirect(LmMessage.REQUEST_BYTES);
        try {
            while (!closed) {
                wire.readFully(header.clear().limit(1), PATIENCE);
                wire.readFully(header.limit(LmMessage.REQUEST_BYTES), STALL);
                answer(wire, LmMessage.readRequest(header.flip()));
            }
        } catch (EOFException e) {
            LOG.debug("a client is gone");
        } catch (ProtocolException e) {
            LOG.warn("a client is disconnected: {}", e.getMessage());
        } catch (IOException e) {
            LOG.debug("a client is disconnected: {}", e.toString());
        } catch (RuntimeException | OutOfMemoryError e) {
            LOG.error("a client is disconnected", e);
        } finally {
            wire.close();
            connections.remove(Thread.currentThread());
        }
    }

    private void answer(Wire wire, LmMessage.Request request) throws IOException {
        switch (request.command()) {
            case LmMessage.PUT -> put(wire, request);
            case LmMessage.GET -> get(wire, request.key());
            case LmMessage.EXIST -> {
                boolean isThere = memory.contains(request.key());
                reply(wire, isThere ? LmMessage.SUCCESS : LmMessage.FAIL);
            }
            case LmMessage.HEALTH -> reply(wire, LmMessage.SUCCESS);
            default -> throw new ProtocolException("there is no command %d".formatted(request.command()));
        }
    }

    private static void reply(Wire wire, int code) throws IOException {
        wire.writeSteadily(new ByteBuffer[] {LmMessage.reply(code, ChunkHead.NONE)}, STALL);
    }

    private void put(Wire wire, LmMessage.Request request) throws IOException {
        int bytes = request.head().lengthBytes();
        if (bytes < 0 || bytes > maxChunkBytes || request.key().isEmpty()) {
            throw new ProtocolException("it wants to store %d bytes under \"%s\"; needed: 0 to %d bytes under a key"
                    .formatted(bytes, request.key(), maxChunkBytes));
        }
        Optional<ChunkMemory.Chunk> reserved = memory.reserve(request.key(), request.head());
        if (reserved.isEmpty()) {
            skip(wire, bytes); // all other chunks are being read or written
            return;
        }
        ChunkMemory.Chunk chunk = reserved.get();
        boolean isWhole = false;
        try {
            for (MemorySegment piece : memory.pieces(chunk)) {
                wire.readFully(piece.asByteBuffer(), STALL);
            }
            isWhole = true;
        } finally {
            if (isWhole) {
                memory.publish(chunk);
                puts.increment();
            } else {
                memory.release(chunk);
            }
        }
    }

    private static void skip(Wire wire, int bytes) throws IOException {
        ByteBuffer scratch = ByteBuffer.allocate(Math.min(bytes, ChunkMemory.PAGE_BYTES));
        for (int left = bytes; left > 0; left -= scratch.limit()) {
            wire.readFully(scratch.clear().limit(Math.min(left, scratch.capacity())), STALL);
        }
    }

    private void get(Wire wire, String key) throws IOException {
        gets.increment();
        Optional<ChunkMemory.Chunk> found = memory.acquire(key);
        if (found.isEmpty()) {
            reply(wire, LmMessage.FAIL);
            return;
        }
        ChunkMemory.Chunk chunk = found.get();
        try {
            hits.increment();
            // The header goes with the first bytes: LMCache's client takes it with one read.
            List<ByteBuffer> buffers = new ArrayList<>();
            buffers.add(LmMessage.reply(LmMessage.SUCCESS, chunk.head()));
            memory.pieces(chunk).forEach(piece -> buffers.add(piece.asByteBuffer()));
            for (int from = 0; from < buffers.size(); from += BUFFERS_AT_A_TIME) {
                int end = Math.min(buffers.size(), from + BUFFERS_AT_A_TIME);
                wire.writeSteadily(buffers.subList(from, end).toArray(ByteBuffer[]::new), STALL);
            }
        } finally {
            memory.release(chunk);
        }
    }

    /// Turns all clients away and gives the memory back.
    @Override
    public void close() {
        closed = true;
        try {
            listener.close();
        } catch (IOException e) {
            // nothing is left to do with it
        }
        Threads.awaitEnd(acceptor);
        connections.forEach((thread, wire) -> {
            wire.abort();
            Threads.awaitEnd(thread);
        });
        memory.close();
    }
}
