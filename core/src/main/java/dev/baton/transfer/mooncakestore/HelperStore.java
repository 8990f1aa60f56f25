package dev.baton.transfer.mooncakestore;

import dev.baton.transfer.TransferException;
import java.io.IOException;
import java.io.InputStream;
import java.io.Writer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.ReentrantLock;

/// Mooncake's Python package in a process of its own, which maps the same memory as this one: only names and places
/// of values go through its pipes, one line a command and one an answer.
///
/// A command that takes too long ends the process: Mooncake could write into the memory at any time otherwise. The
/// process ends by itself when this one does. Thread-safe.
final class HelperStore implements ObjectStore {
    private static final String SCRIPT = "mooncake_helper.py";
    private static final Path SHARED_MEMORY = Path.of("/dev/shm");
    private static final long END_SECONDS = 10;
    private static final String READY = "ready";
    private static final String NO_PACKAGE = "no package";

    private final Duration timeout;
    private final Arena arena;
    private final MemorySegment memory;
    private final Path file;
    private final Process process;
    private final Writer commands; // guarded by writing
    private final ReentrantLock writing = new ReentrantLock();
    private final Map<String, CompletableFuture<String>> pending = new ConcurrentHashMap<>(); // by number of command
    private final AtomicLong numCommands = new AtomicLong();
    private final Thread reader;

    /// Opens helper processes.
    ///
    /// @param python the interpreter
    /// @param host how other nodes of the cluster reach this one
    /// @param threads commands at a time
    /// @param startTimeout bound of the start, in which it joins the cluster
    /// @param timeout bound of each command
    record Opener(Path python, Cluster cluster, String host, int threads, Duration startTimeout, Duration timeout)
            implements ObjectStore.Opener {
        @Override
        public ObjectStore open(long memoryBytes) throws IOException {
            HelperStore helper = new HelperStore(this, memoryBytes);
            try {
                helper.awaitReady(this);
            } catch (IOException | RuntimeException e) {
                helper.close();
                throw e;
            }
            return helper;
        }

        @Override
        public String describe() {
            return "the mooncake package of " + python;
        }

        @Override
        public boolean writes() {
            return true;
        }
    }

    private HelperStore(Opener opener, long memoryBytes) throws IOException {
        this.timeout = opener.timeout();
        this.arena = Arena.ofShared();
        this.file = Files.createTempFile(
                Files.isWritable(SHARED_MEMORY) ? SHARED_MEMORY : Path.of(System.getProperty("java.io.tmpdir")),
                filePrefix(),
                ".kv",
                PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
        try {
            try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
                this.memory = channel.map(FileChannel.MapMode.READ_WRITE, 0, memoryBytes, arena);
            }
            this.process = new ProcessBuilder(command(opener, memoryBytes))
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
        } catch (IOException | RuntimeException | OutOfMemoryError e) {
            arena.close();
            boolean _ = Files.deleteIfExists(file);
            throw e;
        }
        this.commands = process.outputWriter(StandardCharsets.UTF_8);
        this.pending.put(READY, new CompletableFuture<>());
        this.reader =
                Thread.ofPlatform().daemon().name("baton-kv-mooncake-answers").unstarted(this::readAnswers);
        reader.start();
    }

    /// How the names of this process's files of shared memory begin.
    static String filePrefix() {
        return "baton-mooncake-" + ProcessHandle.current().pid() + "-";
    }

    private List<String> command(Opener opener, long memoryBytes) throws IOException {
        Cluster cluster = opener.cluster();
        return List.of(
                opener.python().toString(),
                "-c",
                script(),
                file.toString(),
                Long.toString(memoryBytes),
                Integer.toString(opener.threads()),
                opener.host(),
                cluster.metadataServer(),
                Long.toString(cluster.segmentBytes()),
                Long.toString(cluster.bufferBytes()),
                cluster.protocol(),
                cluster.deviceName(),
                cluster.masterAddress());
    }

    private static String script() throws IOException {
        try (InputStream in = HelperStore.class.getResourceAsStream(SCRIPT)) {
            if (in == null) {
                throw new IllegalStateException("the program has no " + SCRIPT);
            }
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private void awaitReady(Opener opener) throws IOException {
        String said = await(READY, pending.getOrDefault(READY, new CompletableFuture<>()), opener.startTimeout());
        if (said.startsWith(NO_PACKAGE)) {
            throw new TransferException(
                    "%s has no mooncake package (%s)".formatted(opener.python(), said.substring(NO_PACKAGE.length())));
        }
        if (!said.isEmpty()) {
            throw new IOException("the master at %s cannot be reached: %s"
                    .formatted(opener.cluster().masterAddress(), said));
        }
    }

    /// An answer is `number<TAB>results` or `number<TAB>!sentence`; the first is `ready<TAB>` and a sentence, if
    /// something is wrong.
    private void readAnswers() {
        try (java.io.BufferedReader answers = process.inputReader(StandardCharsets.UTF_8)) {
            for (String line = answers.readLine(); line != null; line = answers.readLine()) {
                int tab = line.indexOf('\t');
                CompletableFuture<String> waiting = tab < 0 ? null : pending.get(line.substring(0, tab));
                if (waiting != null) {
                    waiting.complete(line.substring(tab + 1));
                }
            }
        } catch (IOException e) {
            // its end, as well
        }
        pending.values().forEach(waiting -> waiting.completeExceptionally(new IOException("the helper has ended")));
    }

    @Override
    public MemorySegment memory() {
        return memory;
    }

    @Override
    public long[] exist(List<String> keys) throws IOException {
        return ask("exist", keys, keys.size());
    }

    @Override
    public long[] put(List<Piece> pieces) throws IOException {
        return ask("put", words(pieces), pieces.size());
    }

    @Override
    public long[] get(List<Piece> pieces) throws IOException {
        return ask("get", words(pieces), pieces.size());
    }

    private static List<String> words(List<Piece> pieces) {
        List<String> words = new ArrayList<>(3 * pieces.size());
        for (Piece piece : pieces) {
            words.add(piece.key());
            words.add(Long.toString(piece.offset()));
            words.add(Long.toString(piece.length()));
        }
        return words;
    }

    private long[] ask(String what, List<String> words, int numResults) throws IOException {
        String number = Long.toString(numCommands.incrementAndGet());
        CompletableFuture<String> answer = new CompletableFuture<>();
        pending.put(number, answer);
        try {
            // Writing waits, too, if the helper has stopped.
            CompletableFuture<Void> deadline =
                    new CompletableFuture<Void>().completeOnTimeout(null, timeout.toNanos(), TimeUnit.NANOSECONDS);
            CompletableFuture<Void> _ = deadline.thenRun(this::abort);
            write(number + "\t" + what + "\t" + String.join("\t", words) + "\n");
            String results = await(what, answer, timeout);
            boolean _ = deadline.cancel(false);
            return StoreErrors.check(parse(results, numResults));
        } finally {
            pending.remove(number);
        }
    }

    private void write(String line) throws IOException {
        writing.lock();
        try {
            commands.write(line);
            commands.flush();
        } catch (IOException e) {
            throw new IOException("the helper has ended", e);
        } finally {
            writing.unlock();
        }
        if (!process.isAlive()) {
            throw new IOException("the helper has ended");
        }
    }

    private String await(String what, CompletableFuture<String> answer, Duration limit) throws IOException {
        try {
            return answer.get(limit.toNanos(), TimeUnit.NANOSECONDS);
        } catch (TimeoutException e) {
            abort();
            throw new IOException("\"%s\" took longer than %d ms".formatted(what, limit.toMillis()), e);
        } catch (ExecutionException e) {
            throw new IOException(reason(e), e);
        } catch (InterruptedException e) {
            abort();
            Thread.currentThread().interrupt();
            throw new IOException("interrupted", e);
        }
    }

    private static String reason(ExecutionException e) {
        Throwable cause = e.getCause();
        return String.valueOf(cause == null ? e.getMessage() : cause.getMessage());
    }

    private static long[] parse(String results, int numResults) throws IOException {
        if (results.startsWith("!")) {
            throw new IOException("Mooncake's client fails: " + results.substring(1));
        }
        String[] words = results.split("\t", -1);
        if (words.length != numResults) {
            throw new IOException("the helper answers %d results for %d".formatted(words.length, numResults));
        }
        long[] numbers = new long[numResults];
        for (int i = 0; i < numResults; i++) {
            try {
                numbers[i] = Long.parseLong(words[i]);
            } catch (NumberFormatException e) {
                throw new IOException("the helper answers something else than numbers", e);
            }
        }
        return numbers;
    }

    @Override
    public void abort() {
        Process _ = process.destroyForcibly();
    }

    @Override
    public void close() {
        boolean interrupted = Thread.interrupted(); // the process's end is to be seen all the same
        boolean ended = false;
        try {
            commands.close(); // it takes leave of the cluster, if it lives
            if (!process.waitFor(END_SECONDS, TimeUnit.SECONDS)) {
                abort();
            }
            ended = process.waitFor(END_SECONDS, TimeUnit.SECONDS);
            boolean _ = Files.deleteIfExists(file); // it has done so, unless it did not get that far
        } catch (IOException e) {
            abort();
        } catch (InterruptedException e) {
            abort();
            interrupted = true;
        }
        if (ended) { // else it could still write: the memory stays mapped
            arena.close();
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
