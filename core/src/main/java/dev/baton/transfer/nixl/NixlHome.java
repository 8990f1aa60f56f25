package dev.baton.transfer.nixl;

import dev.baton.tensor.PythonPath;
import dev.baton.transfer.TransferException;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// Where the NIXL library was found.
///
/// @param sharedObject `libnixl_capi.so`
/// @param plugins the folder of its plugins
record NixlHome(Path sharedObject, Path plugins) {
    private static final String LIBRARY = "libnixl_capi.so";

    /// Looks in the folder given, else in `NIXL_HOME`, else in the nixl package of the `python3` on the PATH. A
    /// folder may be that of the library, a Python `site-packages`, or a virtual environment.
    ///
    /// @throws TransferException if it is nowhere; says where was looked and what to set
    static NixlHome find(Optional<Path> given, Map<String, String> environment) {
        List<Path> folders = new ArrayList<>();
        String where;
        if (given.isPresent()) {
            folders.add(given.get());
            where = "nixl_home " + given.get();
        } else if (environment.containsKey("NIXL_HOME")) {
            folders.add(Path.of(environment.getOrDefault("NIXL_HOME", "")));
            where = "NIXL_HOME " + folders.getFirst();
        } else {
            folders.addAll(PythonPath.folders());
            where = "the packages of the python3 on the PATH";
        }
        for (Path folder : folders) {
            Optional<NixlHome> home = in(folder);
            if (home.isPresent()) {
                return home.get();
            }
        }
        throw new TransferException("%s: there is no %s in %s; install the Python package nixl, or set nixl_home"
                        .formatted(NixlConnector.NAME, LIBRARY, where)
                + " in kv_connector_extra_config (or NIXL_HOME) to the environment that has it");
    }

    private static Optional<NixlHome> in(Path folder) {
        if (Files.isRegularFile(folder.resolve(LIBRARY))) {
            return Optional.of(new NixlHome(folder.resolve(LIBRARY), folder.resolve("plugins")));
        }
        for (Path packages : list(folder, ".nixl_cu*.mesonpy.libs")) {
            if (Files.isRegularFile(packages.resolve(LIBRARY))) {
                return in(packages);
            }
        }
        for (Path python : list(folder.resolve("lib"), "python3*")) {
            Optional<NixlHome> home = in(python.resolve("site-packages"));
            if (home.isPresent()) {
                return home;
            }
        }
        return Optional.empty();
    }

    /// The folder's entries of that form, the highest first.
    private static List<Path> list(Path folder, String form) {
        if (!Files.isDirectory(folder)) {
            return List.of();
        }
        List<Path> found = new ArrayList<>();
        try (DirectoryStream<Path> entries = Files.newDirectoryStream(folder, form)) {
            entries.forEach(found::add);
        } catch (IOException e) {
            return List.of();
        }
        found.sort(Collections.reverseOrder());
        return found;
    }
}
