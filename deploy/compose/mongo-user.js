// Run once by the image of MongoDB when its volume is empty: the user of mcp-notes, for its database alone.
const fs = require("fs");

db.getSiblingDB("mcp-notes").createUser({
  user: "mcp-notes",
  pwd: fs.readFileSync("/run/secrets/mongo_password", "utf8").trim(),
  roles: [{ role: "readWrite", db: "mcp-notes" }],
});
