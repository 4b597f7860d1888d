#!/bin/sh
# Makes the token that clients and workers of the compose deployment show the server. Keeps one that is there.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
if [ ! -s secrets/token ]; then
  (umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > secrets/token)
  # The containers' user reads it through a bind mount.
  chmod 0444 secrets/token
fi
echo "deploy/secrets/token is there; clients: lathe --token-file deploy/secrets/token"
