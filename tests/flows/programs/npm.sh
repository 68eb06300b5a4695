# A package's scripts, one of which calls others.
# needs: npm
# exit: 7
export NPM_CONFIG_UPDATE_NOTIFIER=false NPM_CONFIG_OFFLINE=true
cat >package.json <<'END'
{
  "name": "work", "version": "1.0.0", "private": true,
  "scripts": { "prebuild": "node make.js 3000 >made.json", "build": "node count.js made.json", "wrong": "exit 7" }
}
END
echo 'console.log(JSON.stringify(Array.from({ length: +process.argv[2] }, (_, i) => ({ i, text: "x".repeat(i % 50) }))))' >make.js
echo 'console.log(JSON.parse(require("fs").readFileSync(process.argv[2])).reduce((n, row) => n + row.text.length, 0))' >count.js
npm run --silent build
echo "Now one that fails."
npm run --silent wrong
