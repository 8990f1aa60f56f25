package dev.baton.transfer.tcp;

import dev.baton.transfer.TransferException;
import dev.baton.wire.Threads;
import dev.baton.wire.WireServer;
import java.io.EOFException;
import java.io.IOException;
import java.net.ConnectException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.channels.AsynchronousCloseException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/// Connections in memory that damage what they carry, as a seeded generator says. One write is one frame here,
/// which is how the connector writes.
///
/// Time passes on a connection when both of its ends wait for bytes and none are on their way: the end whose
/// patience is shorter is told so at once. So nobody sleeps through a timeout, and a wait that ends neither way
/// is a hang, which is counted.
final class SimulatedNetwork implements Transport {
    /// What may happen to a frame.
    enum Fault {
        /// Some bits are others.
        FLIPPED,
        /// Its end is missing, and the next frame follows at once.
        SHORTENED,
        /// Its end is missing, and the connection breaks.
        CUT,
        LOST,
        TWICE,
        /// It comes behind the next one.
        OVERTAKEN,
        /// A frame of another time comes before it.
        REPLAYED,
        /// It comes late.
        DELAYED,
        /// The connection breaks before it.
        RESET,
        /// There is no connection in the first place.
        REFUSED
    }

    private static final int MAX_IN_FLIGHT = 1 << 20;
    private static final int MOST_FLIPPED_BITS = 6;
    private static final int LONGEST_DELAY_NANOS = 300_000;
    private static final Fault[] ON_FRAMES =
            Arrays.stream(Fault.values()).filter(it -> it != Fault.REFUSED).toArray(Fault[]::new);
    /// How often a frame goes wrong: each connection has a share between these.
    private static final double LEAST_SHARE = 0.05;

    private static final double MOST_SHARE = 0.25;

    private static final long HANG_NANOS = TimeUnit.SECONDS.toNanos(30);

    private final long seed;
    private final Map<Integer, Server> servers = new ConcurrentHashMap<>();
    private final Set<Line> lines = ConcurrentHashMap.newKeySet();
    private final Map<Fault, AtomicLong> faults = new EnumMap<>(Fault.class);
    private final AtomicLong dialled = new AtomicLong();
    private final AtomicLong hangs = new AtomicLong();
    private volatile boolean healthy;

    SimulatedNetwork(long seed) {
        this.seed = seed;
        for (Fault fault : Fault.values()) {
            faults.put(fault, new AtomicLong());
        }
    }

    /// From now on everything arrives as it was sent.
    void heal() {
        healthy = true;
    }

    /// Faults so far.
    Map<Fault, Long> faults() {
        Map<Fault, Long> counts = new EnumMap<>(Fault.class);
        faults.forEach((fault, count) -> counts.put(fault, count.get()));
        return counts;
    }

    long numFaults() {
        return faults.values().stream().mapToLong(AtomicLong::get).sum();
    }

    /// Waits that nothing ended.
    long numHangs() {
        return hangs.get();
    }

    /// Connections of which an end is open.
    int numOpen() {
        return lines.size();
    }

    @Override
    public Link dial() {
        return new End(new Line(dialled.incrementAndGet()), 0);
    }

    @Override
    public Listener listen(
            String ip, int port, int maxConnections, Function<Link, ? extends WireServer.Connection> connections) {
        int bound = port == 0 ? 1 + servers.size() : port;
        Server server = new Server(bound, connections);
        if (servers.putIfAbsent(bound, server) != null) {
            throw new TransferException("port %d is in use".formatted(bound));
        }
        return server;
    }

    /// One listener and those it serves.
    private final class Server implements Listener {
        private final int port;
        private final Function<Link, ? extends WireServer.Connection> connections;
        private final Map<Thread, WireServer.Connection> served = new HashMap<>(); // guarded by this
        private boolean closed; // guarded by this

        Server(int port, Function<Link, ? extends WireServer.Connection> connections) {
            this.port = port;
            this.connections = connections;
        }

        @Override
        public int port() {
            return port;
        }

        synchronized void accept(Line line) throws ConnectException {
            if (closed) {
                throw new ConnectException("refused: closed");
            }
            WireServer.Connection connection = connections.apply(new End(line, 1));
            Thread thread = Thread.ofPlatform()
                    .daemon()
                    .name("baton-kv-simulated-serve-" + line.number)
                    .unstarted(() -> {
                        try {
                            connection.run();
                        } finally {
                            synchronized (this) {
                                served.remove(Thread.currentThread());
                            }
                        }
                    });
            served.put(thread, connection);
            thread.start();
        }

        @Override
        public void close() {
            servers.remove(port, this);
            Map<Thread, WireServer.Connection> left;
            synchronized (this) {
                closed = true;
                left = Map.copyOf(served);
            }
            left.values().forEach(WireServer.Connection::abort);
            left.keySet().forEach(Threads::awaitEnd);
        }
    }

    /// One connection: what is on its way in both directions, under one lock.
    private final class Line {
        final long number;
        final Random random;
        final double share;
        final ReentrantLock lock = new ReentrantLock();
        final Condition changed = lock.newCondition();
        final Direction[] towards = {new Direction(), new Direction()}; // to the dialling end, to the serving one
        boolean broken; // guarded by lock, as all below

        Line(long number) {
            this.number = number;
            this.random = new Random(seed * 1_000_003 + number);
            this.share = random.nextDouble(LEAST_SHARE, MOST_SHARE);
        }

        void breakOff() {
            broken = true;
            changed.signalAll();
        }
    }

    /// What is on its way to one end.
    private static final class Direction {
        final Deque<byte[]> frames = new ArrayDeque<>();
        int offset; // into the first frame
        int bytes;
        byte @Nullable [] overtaken; // comes behind the next frame
        byte @Nullable [] seen; // some frame of earlier
        boolean waiting; // whether the end waits for bytes
        long patienceNanos;
        boolean expired; // whether its patience has ended
        boolean open = true; // whether the end is
        volatile boolean aborted;

        void put(byte[] frame) {
            if (frame.length > 0) {
                frames.addLast(frame);
                bytes += frame.length;
            }
        }

        int take(ByteBuffer target) {
            int taken = 0;
            while (target.hasRemaining() && !frames.isEmpty()) {
                byte[] first = frames.getFirst();
                int n = Math.min(target.remaining(), first.length - offset);
                target.put(first, offset, n);
                offset += n;
                bytes -= n;
                taken += n;
                if (offset == first.length) {
                    frames.removeFirst();
                    offset = 0;
                }
            }
            return taken;
        }
    }

    /// One end of a connection.
    private final class End implements Link {
        private final Line line;
        private final Direction in;
        private final Direction out;

        End(Line line, int side) {
            this.line = line;
            this.in = line.towards[side];
            this.out = line.towards[1 - side];
        }

        @Override
        public void connect(String host, int port, Duration timeout) throws IOException {
            check();
            Server server = servers.get(port);
            if (server == null) {
                throw new ConnectException("refused: nobody listens on " + port);
            }
            if (!healthy && line.random.nextDouble() < line.share / 4) {
                faults.get(Fault.REFUSED).incrementAndGet();
                throw new ConnectException("refused by the network");
            }
            lines.add(line);
            try {
                server.accept(line);
            } catch (IOException e) {
                lines.remove(line);
                throw e;
            }
        }

        @Override
        public void readFully(ByteBuffer target, Duration timeout) throws IOException {
            readSteadily(new ByteBuffer[] {target}, timeout);
        }

        @Override
        public void readSteadily(ByteBuffer[] targets, Duration timeout) throws IOException {
            line.lock.lock();
            try {
                while (targets[0].hasRemaining()) {
                    check();
                    int taken = 0;
                    for (ByteBuffer target : targets) {
                        taken += in.take(target);
                    }
                    if (taken > 0) {
                        line.changed.signalAll(); // there is room again
                    } else if (line.broken) {
                        throw new IOException("connection reset");
                    } else if (!out.open) {
                        throw new EOFException("the peer closed the connection");
                    } else {
                        await(timeout.toNanos());
                    }
                }
            } finally {
                line.lock.unlock();
            }
        }

        @Override
        public boolean hasInput() throws IOException {
            line.lock.lock();
            try {
                check();
                return in.bytes > 0 || line.broken || !out.open;
            } finally {
                line.lock.unlock();
            }
        }

        /// Waits for bytes, or until time has passed.
        private void await(long patienceNanos) throws IOException {
            in.waiting = true;
            in.patienceNanos = patienceNanos;
            in.expired = false;
            try {
                if (out.waiting && out.bytes == 0) { // nothing moves any more on this connection
                    if (!late(in) && !late(out)) {
                        if (patienceNanos <= out.patienceNanos) {
                            throw new SocketTimeoutException("no progress in time");
                        }
                        out.expired = true;
                    }
                    line.changed.signalAll();
                }
                long nanos = HANG_NANOS;
                while (in.bytes == 0 && !in.expired && !line.broken && out.open && !in.aborted) {
                    nanos = line.changed.awaitNanos(nanos);
                    if (nanos <= 0) {
                        if (out.waiting) {
                            hangs.incrementAndGet();
                        }
                        nanos = HANG_NANOS;
                    }
                }
                if (in.expired && in.bytes == 0) {
                    throw new SocketTimeoutException("no progress in time");
                }
            } catch (InterruptedException e) {
                throw new AsynchronousCloseException();
            } finally {
                in.waiting = false;
            }
        }

        /// A frame that was overtaken by nothing arrives after all.
        private boolean late(Direction direction) {
            byte[] frame = direction.overtaken;
            direction.overtaken = null;
            if (frame != null) {
                direction.put(frame);
            }
            return frame != null;
        }

        @Override
        public void writeSteadily(ByteBuffer[] sources, Duration timeout) throws IOException {
            int length = 0;
            for (ByteBuffer source : sources) {
                length += source.remaining();
            }
            byte[] frame = new byte[length];
            int offset = 0;
            for (ByteBuffer source : sources) {
                int n = source.remaining();
                source.get(frame, offset, n);
                offset += n;
            }
            send(frame);
        }

        private void send(byte[] frame) throws IOException {
            line.lock.lock();
            try {
                long nanos = HANG_NANOS;
                while (out.bytes > MAX_IN_FLIGHT && !line.broken && out.open && !in.aborted) {
                    nanos = line.changed.awaitNanos(nanos);
                    if (nanos <= 0) {
                        throw new SocketTimeoutException("no progress in time");
                    }
                }
                check();
                if (line.broken || !out.open) {
                    throw new IOException("broken pipe");
                }
                boolean faulty = !healthy && line.random.nextDouble() < line.share;
                carry(frame, faulty ? ON_FRAMES[line.random.nextInt(ON_FRAMES.length)] : null);
                line.changed.signalAll();
            } catch (InterruptedException e) {
                throw new AsynchronousCloseException();
            } finally {
                line.lock.unlock();
            }
        }

        private void carry(byte[] frame, @Nullable Fault fault) throws IOException {
            byte[] before = out.overtaken;
            out.overtaken = null;
            if (fault == null) {
                out.put(frame);
            } else {
                faults.get(fault).incrementAndGet();
                damage(frame, fault);
            }
            if (before != null) {
                out.put(before);
            }
            if (out.seen == null || line.random.nextInt(4) == 0) {
                out.seen = frame;
            }
        }

        private void damage(byte[] frame, Fault fault) throws IOException {
            Random random = line.random;
            int part = random.nextInt(frame.length);
            switch (fault) {
                case FLIPPED -> {
                    byte[] flipped = frame.clone();
                    for (int bits = 1 + random.nextInt(MOST_FLIPPED_BITS); bits > 0; bits--) {
                        // as often in the head of a frame as behind it, which is much longer
                        int at = random.nextInt(random.nextBoolean() ? Math.min(32, frame.length) : frame.length);
                        flipped[at] ^= (byte) (1 << random.nextInt(Byte.SIZE));
                    }
                    out.put(flipped);
                }
                case SHORTENED -> out.put(Arrays.copyOf(frame, part));
                case CUT -> {
                    out.put(Arrays.copyOf(frame, part));
                    line.breakOff();
                }
                case LOST -> {}
                case TWICE -> {
                    out.put(frame);
                    out.put(frame);
                }
                case OVERTAKEN -> out.overtaken = frame;
                case REPLAYED -> {
                    if (out.seen != null) {
                        out.put(out.seen);
                    }
                    out.put(frame);
                }
                case DELAYED -> {
                    line.lock.unlock();
                    try {
                        LockSupport.parkNanos(random.nextInt(LONGEST_DELAY_NANOS));
                    } finally {
                        line.lock.lock();
                    }
                    out.put(frame);
                }
                case RESET, REFUSED -> {
                    line.breakOff();
                    throw new IOException("connection reset");
                }
            }
        }

        private void check() throws AsynchronousCloseException {
            if (in.aborted) {
                throw new AsynchronousCloseException();
            }
        }

        @Override
        public void abort() {
            in.aborted = true;
            line.lock.lock();
            try {
                line.changed.signalAll();
            } finally {
                line.lock.unlock();
            }
        }

        @Override
        public void close() {
            line.lock.lock();
            try {
                in.open = false;
                in.frames.clear();
                in.bytes = 0;
                in.offset = 0;
                line.changed.signalAll();
                if (!out.open) {
                    lines.remove(line);
                }
            } finally {
                line.lock.unlock();
            }
        }
    }
}
