package dev.baton.cli;

import dev.baton.wire.FreePorts;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import java.util.zip.Deflater;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.awaitility.Awaitility;

/// How tests start Java processes: with the classes of this test run, from an archive that the JVM maps (class data
/// sharing) instead of reading, checking and linking three thousand classes again in each of a hundred processes.
///
/// The archive is made once for each compilation, by [Training], into `target/test-jvm`; a test run in another process
/// beside this one waits for it. Since the JVM archives no class of a folder, the class path's folders are packed into
/// files first. A JVM that cannot use the archive runs without it. Thread-safe.
public final class TestJvm {
    /// The lock of who listens on the fixed ports of vLLM's P2pNccl proxies, 10001 and 30001.
    public static final String P2P_PORTS = "p2p-ports";

    private static final String JAVA =
            Path.of(System.getProperty("java.home"), "bin", "java").toString();
    private static final Path FOLDER = Path.of("target", "test-jvm").toAbsolutePath();
    private static final Path ARCHIVE = FOLDER.resolve("classes.jsa");
    private static final Duration PATIENCE = Duration.ofSeconds(60);
    private static final List<String> OPTIONS =
            List.of("--enable-native-access=ALL-UNNAMED", "-Xmx512m", "-XX:+UseSerialGC");

    private TestJvm() {}

    /// Made when the first process is started.
    private static final class Classes {
        static final String PATH;
        static final List<String> SHARING;

        static {
            try (FileChannel _ = lock("lock")) {
                PATH = packed(System.getProperty("java.class.path"));
                // Silent, since tests read every line that a process writes.
                SHARING = Files.exists(ARCHIVE) || train(PATH)
                        ? List.of("-XX:SharedArchiveFile=" + ARCHIVE, "-Xlog:cds=off")
                        : List.of();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }

    /// Held by one test process at a time, until it is closed: for what there is once on a machine.
    public static FileChannel lock(String name) throws IOException {
        Files.createDirectories(FOLDER);
        FileChannel channel =
                FileChannel.open(FOLDER.resolve(name), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
        try {
            channel.lock();
            return channel;
        } catch (IOException | RuntimeException e) {
            channel.close();
            throw e;
        }
    }

    /// A command line up to the class, to which the caller adds the program's arguments.
    ///
    /// @param options the JVM's
    public static List<String> command(List<String> options, Class<?> main) {
        return command(Classes.SHARING, options, Classes.PATH, main);
    }

    /// The command line of `baton`, to which the caller adds the program's arguments.
    ///
    /// @param computes whether it runs a model, which needs the best code, or ends before that would pay
    public static List<String> baton(boolean computes) {
        List<String> options = new ArrayList<>(OPTIONS);
        options.add(computes ? "--add-modules=jdk.incubator.vector" : "-XX:TieredStopAtLevel=1");
        return command(options, Main.class);
    }

    /// What a JVM needs besides the class path to use the archive, as words of a command line.
    static List<String> sharing() {
        return Classes.SHARING;
    }

    private static List<String> command(List<String> sharing, List<String> options, String classPath, Class<?> main) {
        List<String> command = new ArrayList<>(List.of(JAVA));
        command.addAll(sharing);
        command.addAll(options);
        command.addAll(List.of("-cp", classPath, main.getName()));
        return command;
    }

    /// The class path with a file in place of each folder. Deletes the archive if something in a folder is newer.
    private static String packed(String classPath) throws IOException {
        List<String> entries = new ArrayList<>();
        for (String entry : classPath.split(java.io.File.pathSeparator)) {
            Path path = Path.of(entry);
            if (!Files.isDirectory(path)) {
                entries.add(entry);
                continue;
            }
            // Not ".jar": to a program that runs from a jar, that file is all there is.
            Path file = FOLDER.resolve("folder-" + entries.size() + ".zip");
            if (!Files.exists(file) || Files.getLastModifiedTime(file).compareTo(newest(path)) < 0) {
                Files.deleteIfExists(ARCHIVE);
                pack(path, file);
            }
            entries.add(file.toString());
        }
        return String.join(java.io.File.pathSeparator, entries);
    }

    private static FileTime newest(Path folder) throws IOException {
        FileTime newest = Files.getLastModifiedTime(folder);
        try (Stream<Path> all = Files.walk(folder)) {
            for (Path path : (Iterable<Path>) all::iterator) {
                FileTime time = Files.getLastModifiedTime(path);
                newest = time.compareTo(newest) > 0 ? time : newest;
            }
        }
        return newest;
    }

    private static void pack(Path folder, Path file) throws IOException {
        try (OutputStream out = Files.newOutputStream(file);
                ZipOutputStream zip = new ZipOutputStream(out);
                Stream<Path> all = Files.walk(folder)) {
            zip.setLevel(Deflater.BEST_SPEED);
            for (Path path : (Iterable<Path>) all.filter(Files::isRegularFile)::iterator) {
                zip.putNextEntry(
                        new ZipEntry(folder.relativize(path).toString().replace(java.io.File.separatorChar, '/')));
                Files.copy(path, zip);
            }
        }
    }

    /// Whether there is an archive now.
    private static boolean train(String classPath) throws IOException {
        Path log = FOLDER.resolve("training.log");
        List<String> ownPorts = new ArrayList<>(OPTIONS);
        ownPorts.add("-Dsurefire.forkNumber=3"); // which no test process has
        Process process = new ProcessBuilder(
                        command(List.of("-XX:ArchiveClassesAtExit=" + ARCHIVE), ownPorts, classPath, Training.class))
                .redirectErrorStream(true)
                .redirectOutput(log.toFile())
                .start();
        boolean made = false;
        try {
            made = process.waitFor(PATIENCE.toSeconds(), TimeUnit.SECONDS)
                    && process.exitValue() == 0
                    && Files.exists(ARCHIVE);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            process.destroyForcibly();
        }
        if (!made) {
            Files.deleteIfExists(ARCHIVE);
            System.err.println("Processes of tests start without an archive of their classes; see " + log);
        }
        return made;
    }

    /// Loads what processes of tests load: a prefiller, a decoder and a router answer a request in one JVM, which
    /// writes its archive when it ends.
    static final class Training {
        private Training() {}

        public static void main(String[] arguments) throws Exception {
            int prefiller = FreePorts.next();
            int decoder = FreePorts.next();
            int router = FreePorts.next();
            start("serve", model(), "--port=" + prefiller, "--kv-transfer-config=" + transfer("kv_producer"));
            start("serve", model(), "--port=" + decoder, "--kv-transfer-config=" + transfer("kv_consumer"));
            start(
                    "router",
                    "--port=" + router,
                    "--mode=pd",
                    "--prefiller=127.0.0.1:" + prefiller,
                    "--decoder=127.0.0.1:" + decoder);
            try (HttpClient client = HttpClient.newHttpClient()) {
                for (int port : new int[] {prefiller, decoder, router}) {
                    Awaitility.await()
                            .ignoreExceptionsInstanceOf(IOException.class)
                            .atMost(PATIENCE)
                            .until(() -> status(client, request(port, "/health")) == 200);
                }
                HttpRequest.Builder completion = request(router, "/v1/completions")
                        .header("content-type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(
                                "{\"prompt\": \"Once upon a time\", \"max_tokens\": 4}"));
                System.exit(status(client, completion) == 200 ? 0 : 1);
            }
        }

        private static String model() {
            return Baton.repository().resolve("models/baton-tiny").toString();
        }

        private static String transfer(String role) {
            return "{\"kv_connector\":\"TcpConnector\",\"kv_role\":\"%s\",\"kv_ip\":\"127.0.0.1\",\"kv_port\":0}"
                    .formatted(role);
        }

        private static void start(String... arguments) {
            Thread.ofPlatform().daemon().start(() -> {
                if (Main.run(System.getenv(), arguments) != 0) {
                    System.exit(1);
                }
            });
        }

        private static HttpRequest.Builder request(int port, String path) {
            return HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + path));
        }

        private static int status(HttpClient client, HttpRequest.Builder request)
                throws IOException, InterruptedException {
            return client.send(request.build(), HttpResponse.BodyHandlers.discarding())
                    .statusCode();
        }
    }
}
