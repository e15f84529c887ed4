// Asks for an access token as programs with Azure's SDK for JavaScript do, and
// prints it with its end, in seconds since 1970:
//
//   node token.js managed|default RESOURCE [CLIENT_ID]
//
// The SDK is found by NODE_PATH.
"use strict";

const { DefaultAzureCredential, ManagedIdentityCredential } = require("@azure/identity");

const [kind, resource, clientId] = process.argv.slice(2);
const credentials = {
  managed: () => (clientId ? new ManagedIdentityCredential({ clientId }) : new ManagedIdentityCredential()),
  default: () => new DefaultAzureCredential({ managedIdentityClientId: clientId }),
};

credentials[kind]().getToken(`${resource}/.default`).then(
  ({ token, expiresOnTimestamp }) => console.log(token, Math.floor(expiresOnTimestamp / 1000)),
  (error) => {
    console.error(`${error.name}: ${error.message}`);
    process.exitCode = 1;
  },
);
