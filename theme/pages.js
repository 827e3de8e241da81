// What mdBook's own script falls short of: keys, search, paper.

// What scrolls sideways must be reachable with the keyboard, and there the arrows must scroll and not turn mdBook's page.
const WIDE = "main :is(.table-wrapper, div.output, math[display=block], pre > code)";
for (const region of document.querySelectorAll(WIDE)) {
    region.addEventListener("keydown", event => event.target === region && event.stopPropagation());
    new ResizeObserver(() => {
        if (region.scrollWidth > region.clientWidth + 1) {
            region.setAttribute("tabindex", "0");
        } else {
            region.removeAttribute("tabindex");
        }
    }).observe(region);
}

// mdBook's button for the sidebar is a bare <label>.
const sidebarToggle = document.getElementById("mdbook-sidebar-toggle");
sidebarToggle.setAttribute("role", "button");
sidebarToggle.setAttribute("tabindex", "0");
sidebarToggle.addEventListener("keydown", event => {
    if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        sidebarToggle.click();
    }
});

// Search: prose counts before code and output, and a word that is nowhere is read as
// those nearest to it. mdBook shows the results, MiniSearch finds them.
// kit/book.py puts code and output between ␂ and ␃.
elasticlunr.Index.load = ({ documentStore }) => {
    const tokens = MiniSearch.getDefault("tokenize");
    const stem = word => elasticlunr.stopWordFilter(elasticlunr.stemmer(word.toLowerCase()));
    const fields = ["title", "prose", "code"];
    const index = new MiniSearch({
        fields, storeFields: ["breadcrumbs", ...fields], processTerm: stem,
    });
    index.addAll(Object.values(documentStore.docs).map(({ body, ...section }) => ({
        ...section,
        prose: body.replace(/␂[^␃]*␃/g, " "),
        code: body.match(/(?<=␂)[^␃]*/g)?.join(" ") ?? "",
    })));
    const options = { boost: { title: 3, code: 0.01 }, prefix: true };
    const find = (query, more) => index.search(query, { ...options, ...more });
    const nowhere = word => !find(word, { processTerm: same => same }).length;

    // A teaser begins near what was found: mdBook looks for the word as it was typed.
    const teaser = ({ prose, code, match, terms }) => {
        const inCode = Object.values(match).flat().every(field => field === "code");
        const words = (inCode || !prose.trim() ? code : prose).trim().split(/\s+/);
        const found = word => tokens(word).some(token => terms.includes(stem(token)));
        return words.slice(Math.max(0, words.findIndex(found) - 8)).join(" ");
    };
    return { search(query) {
        const results = find(query, { fuzzy: word => nowhere(word) && 0.25 }).slice(0, 30);
        return results.map(one => ({ ref: one.id, doc: { ...one, body: teaser(one) } }));
    } };
};

// On paper: light, and the solutions of the exercises after everything else.
const element = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
const undo = [];
function lighten() {
    const page = document.documentElement, look = page.className;
    page.classList.remove("rust", "coal", "navy", "ayu");
    page.classList.add("light");
    undo.push(() => { page.className = look; });
}
function putSolutionsLast() {
    const main = document.querySelector("main"), headings = [...main.querySelectorAll("h2, h3")];
    const section = element("section", "");
    section.className = "solutions";
    for (const fold of main.querySelectorAll("details")) {
        if (!fold.querySelector("summary").textContent.startsWith("Solution")) continue;
        const before = node =>
            node.compareDocumentPosition(fold) & Node.DOCUMENT_POSITION_FOLLOWING;
        const title = element("h3", headings.findLast(before)?.textContent);
        const pointer = element("p", "The solution is at the end."), wasOpen = fold.open;
        undo.push(() => { pointer.replaceWith(fold); fold.open = wasOpen; });
        fold.replaceWith(pointer);
        fold.open = true;
        section.append(title, fold);
    }
    if (!section.hasChildNodes()) return;
    section.prepend(element("h2", "Solutions"));
    main.append(section);
    undo.push(() => section.remove());
}
window.addEventListener("beforeprint", () => { lighten(); putSolutionsLast(); });
window.addEventListener("afterprint", () => undo.splice(0).forEach(step => step()));
