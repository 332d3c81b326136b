"""Small browser components where Streamlit has none of its own."""
