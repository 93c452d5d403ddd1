// Grade the image in front with Martensight, from Fiji or ImageJ.
//
// Set the three lines below once, then put this file into Fiji's folder plugins/Macros, or run it
// with Plugins > Macros > Run. The image is sent as it is, with its calibration; nothing is changed.
// It needs curl, which Windows 10 and later, macOS and Linux have.

url = "http://127.0.0.1:8787";   // the review page of your lab's agent
token = "";                      // from: agent users add --program Fiji; empty where the lab has no accounts
order = "";                      // order number to send along; empty asks each time

name = replace(getTitle(), "[^A-Za-z0-9._-]", "_");
if (!endsWith(name, ".tif")) name = name + ".tif";
if (order == "") order = getString("Order number (may stay empty)", "");
order = replace(order, "[^A-Za-z0-9._-]", "");
query = "?name=" + name;
if (order != "") query = query + "&order=" + order;

path = getDirectory("temp") + name;
front = getImageID();
run("Duplicate...", "title=" + name + " duplicate");
saveAs("Tiff", path);
close();
selectImage(front);

sent = exec("curl", "-sS", "--data-binary", "@" + path, "-H", "Authorization: Bearer " + token, "-H", "Content-Type: application/octet-stream", url + "/api/v1/micrographs" + query);
id = part(sent, "id");
if (id == "") exit("Martensight did not take the image:\n" + sent);

found = "";
for (i = 0; i < 120 && indexOf(found, "handling") < 0; i++) {
    wait(1000);
    showProgress(i, 120);
    found = exec("curl", "-sS", "-H", "Authorization: Bearer " + token, url + "/api/v1/micrographs/" + id);
}
File.delete(path);
if (indexOf(found, "handling") < 0) exit("It is taken and waits for its turn:\n" + url + "/review/" + id);

code = part(found, "structure_code");
if (code == "") code = "no code yet";
handling = part(found, "handling");
Overlay.drawString(code + " (" + handling + ")", 12, 28);
Overlay.show();
showMessage("Martensight", code + ": " + handling + "\n \n" + url + "/review/" + id);

// The value of a text in a JSON answer, "" where there is none.
function part(json, key) {
    at = indexOf(json, "\"" + key + "\":\"");
    if (at < 0) return "";
    from = at + lengthOf(key) + 4;
    return substring(json, from, indexOf(json, "\"", from));
}
