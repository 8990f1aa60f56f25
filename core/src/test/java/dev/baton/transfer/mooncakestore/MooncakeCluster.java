package dev.baton.transfer.mooncakestore;

import dev.baton.wire.FreePorts;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintWriter;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Assumptions;

/// A real `mooncake_master` and one real node with memory, of the Python environment `MOONCAKE_PYTHON`.
public final class MooncakeCluster implements AutoCloseable {
    /// The node: commands on stdin, one line of answer each.
    private static final String NODE = """
            import sys
            from mooncake.store import MooncakeDistributedStore
            store = MooncakeDistributedStore()
            assert store.setup("127.0.0.1", "P2PHANDSHAKE", %d, 16 << 20, "tcp", "", sys.argv[1]) == 0
            def say(*words): print("=", *words, flush=True)
            say("up")
            for line in sys.stdin:
                command, key, *words = line.rstrip("\\n").split("\\t")
                if command == "get": say(bytes(store.get(key)).hex())
                elif command == "put": store.remove(key, True); say(store.put(key, bytes.fromhex(words[0])))
                elif command == "remove": say(store.remove(key, True))
            """;

    private static final String LIBRARY = "libmooncake_store.so";
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private final Path python;
    private final int rpcPort;
    public final int metricsPort;
    private Process master;
    private final Process node;
    private final BufferedReader answers;
    private final PrintWriter commands;

    /// Skips the test where Mooncake is not installed.
    public static Path python() {
        String set = System.getenv("MOONCAKE_PYTHON");
        Assumptions.assumeTrue(set != null, "MOONCAKE_PYTHON does not name the Python of an environment with Mooncake");
        Path python = Path.of(set);
        Assumptions.assumeTrue(
                Files.isExecutable(python.resolveSibling("mooncake_master")),
                "Mooncake's Python package is not installed: there is no mooncake_master beside " + python);
        return python;
    }

    /// Mooncake's library, in the folder `MOONCAKE_HOME`. Skips the test where it is not: no published package has
    /// it; `docs/mooncake-store-connector.md` says how it is built.
    public static Path sharedObject() {
        String set = System.getenv("MOONCAKE_HOME");
        Assumptions.assumeTrue(
                set != null, "MOONCAKE_HOME does not name a folder with " + LIBRARY + ", which no package has");
        Path library = Path.of(set, LIBRARY);
        Assumptions.assumeTrue(Files.isRegularFile(library), "there is no " + library);
        return library;
    }

    /// Loads the library, if there is one: it opens a socket then, and keeps it, which is not to be taken for one
    /// that a test has left.
    static void loadLibrary() {
        String set = System.getenv("MOONCAKE_HOME");
        if (set != null && Files.isRegularFile(Path.of(set, LIBRARY))) {
            NativeStore.Library _ = new NativeStore.Library(Path.of(set, LIBRARY));
        }
    }

    /// @param poolBytes memory of the node
    public MooncakeCluster(long poolBytes) throws IOException {
        this.python = python();
        this.rpcPort = FreePorts.next();
        this.metricsPort = FreePorts.next();
        this.master = startMaster();
        ProcessBuilder builder = new ProcessBuilder(python.toString(), "-c", NODE.formatted(poolBytes), master());
        builder.environment().put("MC_TCP_BIND_ADDRESS", "127.0.0.1");
        this.node = builder.redirectError(ProcessBuilder.Redirect.DISCARD).start();
        this.answers = node.inputReader(StandardCharsets.UTF_8);
        this.commands = new PrintWriter(node.outputWriter(StandardCharsets.UTF_8), true);
        answer();
    }

    private Process startMaster() throws IOException {
        Process started = new ProcessBuilder(
                        python.resolveSibling("mooncake_master").toString(),
                        "--rpc_address=127.0.0.1",
                        "--rpc_port=" + rpcPort,
                        "--metrics_host=127.0.0.1",
                        "--metrics_port=" + metricsPort,
                        "--logtostderr")
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                .start();
        Awaitility.await().atMost(PATIENCE).until(() -> {
            try (Socket socket = new Socket("127.0.0.1", rpcPort)) {
                return socket.isConnected();
            } catch (IOException e) {
                if (!started.isAlive()) {
                    throw new IOException("mooncake_master did not start", e);
                }
                return false;
            }
        });
        return started;
    }

    /// Address of the master.
    public String master() {
        return "127.0.0.1:" + rpcPort;
    }

    /// The settings of a connector to it.
    public Map<String, Object> settings() {
        Map<String, Object> settings = new HashMap<>();
        settings.put("master_server_address", master());
        settings.put("master_metrics_port", metricsPort);
        settings.put("mooncake_home", python.getParent().getParent().toString());
        return settings;
    }

    /// The settings of LMCache's tier in it.
    ///
    /// @param hasHeads `save_chunk_meta`
    public Map<String, Object> lmCacheSettings(int chunkTokens, boolean hasHeads) {
        Map<String, Object> settings = settings();
        Object address = settings.remove("master_server_address");
        settings.put("lmcache.remote_url", "mooncakestore://" + address + "/");
        settings.put("lmcache.extra_config", Map.of("global_segment_size", 0, "save_chunk_meta", hasHeads));
        settings.put("lmcache.local_cpu", false);
        settings.put("lmcache.chunk_size", chunkTokens);
        settings.put("lmcache.pre_caching_hash_algorithm", "sha256_cbor");
        settings.put("lmcache.blocking_timeout_secs", 60);
        return settings;
    }

    /// The keys of all values, in any order.
    public List<String> keys() throws IOException {
        URI keys = URI.create("http://127.0.0.1:%d/get_all_keys".formatted(metricsPort));
        try (InputStream answer = keys.toURL().openStream()) {
            return new String(answer.readAllBytes(), StandardCharsets.UTF_8)
                    .lines()
                    .toList();
        }
    }

    /// The bytes of a value; none if it is not there.
    public byte[] get(String key) throws IOException {
        return HexFormat.of().parseHex(ask("get\t" + key));
    }

    /// Puts a value in place of what there was.
    public void put(String key, byte[] value) throws IOException {
        String status = ask("put\t" + key + "\t" + HexFormat.of().formatHex(value));
        if (!status.equals("0")) {
            throw new IOException("put: " + status);
        }
    }

    /// Removes a value.
    public void remove(String key) throws IOException {
        String status = ask("remove\t" + key);
        if (!status.equals("0")) {
            throw new IOException("remove: " + status);
        }
    }

    /// The key that vLLM has for a block of a model's tokens.
    public static String vllmKey(String model, int[] tokens, int blockTokens, int block) {
        String seed = System.getenv().getOrDefault("PYTHONHASHSEED", VllmNames.NO_SEED);
        return new VllmNames(
                        model + "@tp_rank:0@pcp0@dcp0@pp_rank:0@group:0",
                        VllmNames.root(seed),
                        tokens,
                        tokens.length,
                        blockTokens)
                .get(block);
    }

    private String ask(String command) throws IOException {
        commands.println(command);
        return answer();
    }

    private String answer() throws IOException {
        for (String line = answers.readLine(); line != null; line = answers.readLine()) {
            if (line.startsWith("= ") || line.equals("=")) {
                return line.substring(1).strip(); // everything else is its log
            }
        }
        throw new IOException("the node has ended");
    }

    /// Sends the master a signal by name.
    public void signalMaster(String name) throws IOException {
        Process kill = new ProcessBuilder("kill", "-" + name, Long.toString(master.pid())).start();
        if (kill.onExit().join().exitValue() != 0) {
            throw new IOException("kill -" + name + " failed");
        }
    }

    /// Ends the master as a crash does.
    public void killMaster() {
        end(master);
    }

    /// Starts a master that knows nothing at the old one's address.
    public void restartMaster() throws IOException {
        master = startMaster();
    }

    private static void end(Process process) {
        process.destroyForcibly();
        try {
            process.waitFor(10, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public void close() {
        end(node);
        end(master);
    }
}
