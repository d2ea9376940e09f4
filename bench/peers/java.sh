# shellcheck shell=bash
# How the peers in Java are built and started. Sourced by their `build` and `run`.

# Fetches the jars unless they are here, and compiles.
build_java() { # FOLDER
    local jars="$1/target/jars" classes="$1/target/classes"
    if [[ ! "$jars" -nt "$1/pom.xml" ]]; then
        rm -rf "$jars" "$jars.tmp"
        mvn --batch-mode --quiet --strict-checksums --file "$1/pom.xml" dependency:copy-dependencies \
            -DincludeScope=runtime -DoutputDirectory="$jars.tmp" </dev/null >&2
        mv "$jars.tmp" "$jars"
    fi
    rm -rf "$classes"
    # The jars' own manifests and annotations are none of our business.
    javac --release 17 -Xlint:all,-classfile,-path,-processing,-serial -Werror -cp "$jars/*" -d "$classes" \
        "$1"/*.java "$1/../Row.java"
}

# Becomes the program: whoever started us measures the JVM and not a shell.
run_java() { # FOLDER CLASS [JVM OPTIONS]...
    exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" "${@:3}" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
        -Dorg.slf4j.simpleLogger.showDateTime=true -cp "$1/target/classes:$1/target/jars/*" "$2"
}
