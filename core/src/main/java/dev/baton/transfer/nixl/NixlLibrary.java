package dev.baton.transfer.nixl;

import static java.lang.foreign.SymbolLookup.*;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.baton.transfer.TransferException;
import java.io.File;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;

/// The C functions of the NIXL library (`libnixl_capi`, header `src/bindings/rust/wrapper.h` of ai-dynamo/nixl)
/// that the connector calls. Loaded once per process and never unloaded.
///
/// Every function returns a status: 0 done, 1 under way, negative for an error. Thread-safe itself; NIXL's agents
/// are not.
final class NixlLibrary {
    private static final Linker LINKER = Linker.nativeLinker();

    private final SymbolLookup symbols;
    final MethodHandle createAgent;
    final MethodHandle destroyAgent;
    final MethodHandle createParams;
    final MethodHandle destroyParams;
    final MethodHandle createBackend;
    final MethodHandle destroyBackend;
    final MethodHandle createOptArgs;
    final MethodHandle destroyOptArgs;
    final MethodHandle addBackend;
    final MethodHandle createRegList;
    final MethodHandle destroyRegList;
    final MethodHandle addRegion;
    final MethodHandle registerMemory;
    final MethodHandle deregisterMemory;
    final MethodHandle localMetadata;
    final MethodHandle loadRemoteMetadata;
    final MethodHandle invalidateRemoteMetadata;
    final MethodHandle createTransferList;
    final MethodHandle destroyTransferList;
    final MethodHandle addDescriptor;
    final MethodHandle createTransfer;
    final MethodHandle postTransfer;
    final MethodHandle transferStatus;
    final MethodHandle releaseTransfer;
    final MethodHandle destroyTransfer;
    final MethodHandle sendNotification;
    final MethodHandle createNotifications;
    final MethodHandle destroyNotifications;
    final MethodHandle fetchNotifications;
    final MethodHandle clearNotifications;
    final MethodHandle numAgents;
    final MethodHandle agentAt;
    final MethodHandle numNotifications;
    final MethodHandle notificationAt;
    final MethodHandle free;

    private NixlLibrary(SymbolLookup symbols) {
        this.symbols = symbols;
        createAgent = bind("create_configured_agent", ADDRESS, ADDRESS, ADDRESS);
        destroyAgent = bind("destroy_agent", ADDRESS);
        createParams = bind("create_params", ADDRESS);
        destroyParams = bind("destroy_params", ADDRESS);
        createBackend = bind("create_backend", ADDRESS, ADDRESS, ADDRESS, ADDRESS);
        destroyBackend = bind("destroy_backend", ADDRESS);
        createOptArgs = bind("create_opt_args", ADDRESS);
        destroyOptArgs = bind("destroy_opt_args", ADDRESS);
        addBackend = bind("opt_args_add_backend", ADDRESS, ADDRESS);
        createRegList = bind("create_reg_dlist", JAVA_INT, ADDRESS);
        destroyRegList = bind("destroy_reg_dlist", ADDRESS);
        addRegion = bind("reg_dlist_add_desc", ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG, ADDRESS, JAVA_LONG);
        registerMemory = bind("register_mem", ADDRESS, ADDRESS, ADDRESS);
        deregisterMemory = bind("deregister_mem", ADDRESS, ADDRESS, ADDRESS);
        localMetadata = bind("get_local_md", ADDRESS, ADDRESS, ADDRESS);
        loadRemoteMetadata = bind("load_remote_md", ADDRESS, ADDRESS, JAVA_LONG, ADDRESS);
        invalidateRemoteMetadata = bind("invalidate_remote_md", ADDRESS, ADDRESS);
        createTransferList = bind("create_xfer_dlist", JAVA_INT, ADDRESS);
        destroyTransferList = bind("destroy_xfer_dlist", ADDRESS);
        addDescriptor = bind("xfer_dlist_add_desc", ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG);
        createTransfer = bind("create_xfer_req", ADDRESS, JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS);
        postTransfer = bind("post_xfer_req", ADDRESS, ADDRESS, ADDRESS);
        transferStatus = bind("get_xfer_status", ADDRESS, ADDRESS);
        releaseTransfer = bind("release_xfer_req", ADDRESS, ADDRESS);
        destroyTransfer = bind("destroy_xfer_req", ADDRESS);
        sendNotification = bind("gen_notif", ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS);
        createNotifications = bind("create_notif_map", ADDRESS);
        destroyNotifications = bind("destroy_notif_map", ADDRESS);
        fetchNotifications = bind("get_notifs", ADDRESS, ADDRESS, ADDRESS);
        clearNotifications = bind("notif_map_clear", ADDRESS);
        numAgents = bind("notif_map_size", ADDRESS, ADDRESS);
        agentAt = bind("notif_map_get_agent_at", ADDRESS, JAVA_LONG, ADDRESS);
        numNotifications = bind("notif_map_get_notifs_size", ADDRESS, ADDRESS, ADDRESS);
        notificationAt = bind("notif_map_get_notif", ADDRESS, ADDRESS, JAVA_LONG, ADDRESS, ADDRESS);
        free = LINKER.downcallHandle(
                LINKER.defaultLookup().find("free").orElseThrow(), FunctionDescriptor.ofVoid(ADDRESS));
    }

    /// Loads the library.
    ///
    /// @throws TransferException if it cannot be loaded, or is another version
    static synchronized NixlLibrary load(NixlHome home) {
        if (!Files.isDirectory(home.plugins())) {
            throw new TransferException("%s: there is no folder %s, which NIXL loads UCX from"
                    .formatted(NixlConnector.NAME, home.plugins()));
        }
        setenv("NIXL_PLUGIN_DIR", home.plugins().toString());
        // UCX would take over the signals by which the Java machine finds null pointers and safepoints.
        setenv("UCX_ERROR_SIGNALS", "");
        setenv("UCX_HANDLE_ERRORS", "none");
        // It would also hear of every munmap of the process; what is registered here stays until it is
        // deregistered.
        setenv("UCX_MEM_EVENTS", "n");
        setenv("UCX_MEM_MMAP_HOOK_MODE", "none");
        setenv("UCX_RCACHE_MAX_UNRELEASED", "1024"); // vLLM's setting against a leak in UCX
        if (!hasRdmaDevices()) {
            // UCX's module for them, of NIXL's wheel, brings in the system's libefa and with it a second libnl
            // beside the wheel's own: the process would crash when it ends.
            setenv("UCX_MODULES", "^ib");
        }
        try {
            return new NixlLibrary(libraryLookup(home.sharedObject(), Arena.global()));
        } catch (IllegalArgumentException e) {
            throw new TransferException(
                    "%s: %s cannot be loaded: %s".formatted(NixlConnector.NAME, home.sharedObject(), e.getMessage()),
                    e);
        }
    }

    private static boolean hasRdmaDevices() {
        String[] devices = new File("/sys/class/infiniband").list();
        return devices != null && devices.length > 0;
    }

    /// Sets a variable of the process for the libraries in it, unless it is set.
    private static void setenv(String name, String value) {
        MethodHandle setenv = LINKER.downcallHandle(
                LINKER.defaultLookup().find("setenv").orElseThrow(),
                FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, JAVA_INT));
        try (Arena arena = Arena.ofConfined()) {
            int _ = (int) setenv.invokeExact(arena.allocateFrom(name), arena.allocateFrom(value), 0);
        } catch (Throwable t) {
            throw failed("setenv", t);
        }
    }

    private MethodHandle bind(String function, MemoryLayout... arguments) {
        MemorySegment address = symbols.find("nixl_capi_" + function)
                .orElseThrow(() -> new TransferException("%s: the NIXL library has no nixl_capi_%s; needed: nixl 1.5"
                        .formatted(NixlConnector.NAME, function)));
        return LINKER.downcallHandle(address, FunctionDescriptor.of(JAVA_INT, arguments));
    }

    /// What a call that must not throw has thrown.
    static RuntimeException failed(String function, Throwable cause) {
        if (cause instanceof Error error) {
            throw error;
        }
        if (cause instanceof RuntimeException e) {
            return e;
        }
        return new TransferException("NIXL: " + function + " failed: " + cause, cause);
    }
}
